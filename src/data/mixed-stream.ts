import { random } from "../util/random.js";
import type { MemoryStream } from "./memory-stream.js";
import type { ShardStream } from "./shard-stream.js";
import type { SampleStream, Streamed } from "./stream.js";

/** Several streams as one: each sample comes from one that is drawn by weight. */
export class MixedStream implements SampleStream {
  readonly #streams: readonly (MemoryStream | ShardStream)[];
  readonly #weights: readonly number[];
  readonly #key: readonly (string | number)[];
  #drawn: number;

  /** @param drawn samples handed out before */
  constructor(
    streams: readonly (MemoryStream | ShardStream)[],
    weights: readonly number[],
    key: readonly (string | number)[],
    drawn = 0,
  ) {
    this.#streams = streams;
    this.#weights = weights;
    this.#key = key;
    this.#drawn = drawn;
  }

  get position() {
    return { drawn: this.#drawn, sources: this.#streams.map(({ position }) => position) };
  }

  async next(): Promise<Streamed> {
    const entry = await this.#streams[this.#choice()]!.next();
    // What a source leaves out takes nothing from its share: the same draw goes on with it.
    if (!("reason" in entry)) this.#drawn++;
    return entry;
  }

  /** Which stream the sample after `#drawn` others comes from. */
  #choice(): number {
    const total = this.#weights.reduce((sum, weight) => sum + weight, 0);
    let rest = random(...this.#key, "source of sample", this.#drawn).uniform() * total;
    const last = this.#weights.length - 1;
    for (let i = 0; i < last; i++) {
      rest -= this.#weights[i]!;
      if (rest < 0) return i;
    }
    return last;
  }

  async close(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.close()));
  }
}
