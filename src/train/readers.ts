import {
  isInMemory,
  mostReaders,
  type ReadersPosition,
  type StreamPosition,
  type StreamSource,
} from "../data/index.js";
import type { Communicator } from "../distributed/index.js";
import { ClipsmithError } from "../util/errors.js";
import { evenPart, type Range } from "./batch.js";

/** Where the stream of a run stands, or those of its readers. */
export type RunPosition = StreamPosition | ReadersPosition;

type Rank = Pick<Communicator, "rank" | "size">;

/** Whether every rank reads all of the sources: where readers are not the same number for each rank. */
export function readsAll(readers: number, { size }: Rank): boolean {
  return readers % size !== 0;
}

/** The readers of a rank. */
export function ownReaders(readers: number, rank: Rank): Range {
  return readsAll(readers, rank) ? [0, readers] : evenPart(readers, rank.rank, rank.size);
}

/**
 * How many readers a run has: those it was begun with, else as many as are asked for, else one for each
 * rank where there are shards to share, and enough of them.
 *
 * @throws ClipsmithError if more are asked for than there are pairs in a batch
 */
export function readersOf(
  sources: readonly StreamSource[],
  batchSize: number,
  asked: number | undefined,
  position: RunPosition | undefined,
  { size }: Rank,
): number {
  if (position !== undefined) return "readers" in position ? position.readers.length : 1;
  if (asked !== undefined && asked > batchSize) {
    throw new ClipsmithError(
      `training.readers is ${asked}, but a batch has ${batchSize} pairs, and each reader gives a part of ` +
        "it. Give fewer.",
    );
  }
  if (asked !== undefined) return asked;
  return !sources.every(isInMemory) && mostReaders(sources) >= size ? size : 1;
}
