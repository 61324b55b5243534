import type { Values } from "./operations.js";

/** Every rank's elements after one another, by rank. */
export interface Gathered<T> {
  readonly values: T;
  /** Elements of each rank. */
  readonly counts: readonly number[];
}

/**
 * The processes of a run, its ranks, and what they do together. All of them have to ask for the same operations
 * in the same order. Operations are carried out one after another by a thread of their own, also while this
 * thread computes: what is asked for need not be waited for. Until its promise is settled an array belongs to
 * the operation and must be neither read nor written. It may be a view of WebAssembly memory that does not grow.
 *
 * No operation outlives a rank that is killed or stuck: the run ends, and says which it was, see
 * {@link CommunicatorOptions.waitLimitSeconds}. Promises are then never settled, for the process ends too.
 */
export interface Communicator {
  /** This process's number, from 0. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
  /** The elements of all ranks in a new array; ranks may have different numbers of them, or none. */
  allGather<T extends Values>(values: T): Promise<Gathered<T>>;
  /** Sums `values` over all ranks, in place. All of them have the same bits afterwards. */
  allReduce(values: Float32Array | Float64Array): Promise<void>;
  /** Fills `values` with those of the rank `root`. */
  broadcast(values: Values, root: number): Promise<void>;
  /** Waits until all ranks have come this far. */
  barrier(): Promise<void>;
  /**
   * A sign of life, to be given now and then by a rank that works while the others wait for it. They then wait
   * on, see {@link CommunicatorOptions.waitLimitSeconds}. Costs nothing.
   */
  atWork(): void;
  /** To be called by all ranks at the end. A process that ends without has failed, and the run with it. */
  close(): Promise<void>;
  /** Ends the processes of all ranks at once, with `reason` on this one's stderr and exit status 1. */
  abort(reason: string): never;
}

export interface CommunicatorOptions {
  /**
   * Seconds for which a rank waits for the others in one operation before it ends the run and names those
   * that did not come: they are stopped, or have given no sign of life for so long. More than the longest
   * time that one rank works alone without a sign, such as rank 0 on a checkpoint. Default 600.
   */
  readonly waitLimitSeconds?: number;
}
