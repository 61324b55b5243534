import { random } from "../util/random.js";
import type { Sample } from "./sample.js";
import type { SampleStream, StreamedSample } from "./stream.js";
import type { MemoryPosition } from "./stream-position.js";

/** Samples in memory, each epoch in a random order of all of them. */
export class MemoryStream implements SampleStream {
  readonly #samples: readonly Sample[];
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
    const { picture, captions } = this.#samples[this.#order.samples[this.#place]!]!;
    this.#place++;
    return { name: picture, picture, captions, epoch };
  }

  async close(): Promise<void> {}
}
