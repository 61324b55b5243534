import { random } from "../util/random.js";
import type { Sample } from "./sample.js";
import type { SampleStream, StreamedSample } from "./stream.js";
import type { MemoryPosition } from "./stream-position.js";

/**
 * Samples in memory, each epoch in a random order of all of them. One that is listed several times comes as
 * often, each time under a name of its own, so that its picture is changed anew.
 */
export class MemoryStream implements SampleStream {
  readonly #samples: readonly Sample[];
  readonly #names: readonly string[];
  readonly #key: readonly (string | number)[];
  #epoch: number;
  #place: number;
  #order: { readonly epoch: number; readonly samples: Int32Array } | undefined;

  constructor(
    samples: readonly Sample[],
    key: readonly (string | number)[],
    position?: MemoryPosition,
  ) {
    if (samples.length === 0) throw new Error("MemoryStream: there are no samples");
    this.#samples = samples;
    this.#names = namesOf(samples);
    this.#key = key;
    this.#epoch = position?.epoch ?? 0;
    this.#place = position?.place ?? 0;
    if (position && position.samples !== samples.length) {
      this.#epoch++;
      this.#place = 0;
    }
  }

  get position(): MemoryPosition {
    return { epoch: this.#epoch, place: this.#place, samples: this.#samples.length };
  }

  async next(): Promise<StreamedSample> {
    const { length } = this.#samples;
    if (this.#place >= length) {
      this.#epoch++;
      this.#place = 0;
    }
    const epoch = this.#epoch;
    if (this.#order?.epoch !== epoch) {
      const samples = random(...this.#key, "epoch", epoch).permutation(length);
      this.#order = { epoch, samples };
    }
    const index = this.#order.samples[this.#place]!;
    this.#place++;
    return { ...this.#samples[index]!, name: this.#names[index]!, epoch };
  }

  async close(): Promise<void> {}
}

/** A picture's path; "path (2)" for the same once more. */
function namesOf(samples: readonly Sample[]): string[] {
  const times = new Map<string, number>();
  return samples.map(({ picture }) => {
    const time = (times.get(picture) ?? 0) + 1;
    times.set(picture, time);
    return time === 1 ? picture : `${picture} (${time})`;
  });
}
