import type { Skipped } from "./sample.js";
import type { SourceSample } from "./source.js";
import type { StreamPosition } from "./stream-position.js";

/** A sample with the number of the pass over its source, from 0. */
export interface StreamedSample extends SourceSample {
  readonly epoch: number;
}

/** What had to be left out at its place in the stream. */
export interface StreamedSkip extends Skipped {
  readonly epoch: number;
  /** For how many entries it stands, about: more than 1 where the rest of a shard is lost. */
  readonly lost: number;
}

/** One entry of a stream. */
export type Streamed = StreamedSample | StreamedSkip;

/** Endless shuffled entries of sources, one pass after another. */
export interface SampleStream {
  /**
   * The next entry. Calls are made one after the other.
   *
   * @throws ClipsmithError when a whole pass over a source gives no sample
   */
  next(): Promise<Streamed>;
  /** After the entry handed out last: a stream opened here goes on with the very next one. */
  readonly position: StreamPosition;
  close(): Promise<void>;
}
