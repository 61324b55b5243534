import type { Communicator } from "../distributed/index.js";

/** Numbers that are summed in one operation: enough for its start to cost nothing, and small beside a model. */
const BUCKET = 4 * 2 ** 20;

/** A part of a bucket, and where its sum goes. */
interface Part {
  readonly target: Float32Array;
  readonly staged: Float32Array;
}

/**
 * Sums arrays over ranks, bucket by bucket, while this thread goes on: a small array need not be an
 * operation of its own, and a large one is on its way before the others are known.
 */
export class RankSum {
  readonly #communicator: Communicator;
  readonly #buckets: Float32Array[] = [];
  #used = 0;
  #parts: Part[] = [];
  #underWay: Promise<void>[] = [];

  constructor(communicator: Communicator) {
    this.#communicator = communicator;
  }

  /** Begins to sum these. They must not be changed before {@link finish}, which puts the sums in place. */
  begin(arrays: Iterable<Float32Array>): void {
    if (this.#communicator.size === 1) return;
    let bucket = this.#bucket();
    let filled = 0;
    for (const array of arrays) {
      for (let at = 0; at < array.length; ) {
        const count = Math.min(array.length - at, BUCKET - filled);
        const target = array.subarray(at, at + count);
        const staged = bucket.subarray(filled, filled + count);
        staged.set(target);
        this.#parts.push({ target, staged });
        at += count;
        filled += count;
        if (filled < BUCKET) continue;
        this.#send(bucket);
        bucket = this.#bucket();
        filled = 0;
      }
    }
    if (filled > 0) this.#send(bucket.subarray(0, filled));
    else this.#used--;
  }

  async finish(): Promise<void> {
    await Promise.all(this.#underWay);
    for (const { target, staged } of this.#parts) target.set(staged);
    this.#parts = [];
    this.#underWay = [];
    this.#used = 0;
  }

  #bucket(): Float32Array {
    this.#buckets[this.#used] ??= new Float32Array(BUCKET);
    return this.#buckets[this.#used++]!;
  }

  #send(values: Float32Array): void {
    this.#underWay.push(this.#communicator.allReduce(values));
  }
}
