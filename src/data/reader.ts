import { ClipsmithError } from "../util/errors.js";
import { isInMemory, type StreamSource } from "./source.js";

/** One of several readers, each of which reads its own shards of every source, and no other does. */
export interface Reader {
  /** From 0. */
  readonly index: number;
  /** How many there are. */
  readonly count: number;
}

/**
 * What a reader reads of a source: every `count`-th shard, or sample in memory.
 *
 * @throws ClipsmithError if there are fewer than readers
 */
export function readersPart(source: StreamSource, { index, count }: Reader): StreamSource {
  if (count === 1) return source;
  const own = <T>(things: readonly T[]) => things.filter((_, i) => i % count === index);
  if (isInMemory(source)) return own(checked(source, "A collection", "samples", count));
  const shards = own(checked(source.shards, source.name, "shards", count));
  return { ...source, shards };
}

function checked<T>(things: readonly T[], name: string, what: string, count: number): readonly T[] {
  if (things.length >= count) return things;
  throw new ClipsmithError(
    `${name} has ${things.length} ${what}, too few for ${count} readers: each of them reads its own. ` +
      `Give ${things.length} by training.readers, or fewer.`,
  );
}

/** The most readers that all of the sources can be shared by. */
export function mostReaders(sources: readonly StreamSource[]): number {
  return Math.min(...sources.map((source) => (isInMemory(source) ? source : source.shards).length));
}
