import { ClipsmithError } from "../util/errors.js";
import { MemoryStream } from "./memory-stream.js";
import { MixedStream } from "./mixed-stream.js";
import { type Reader, readersPart } from "./reader.js";
import { ShardStream } from "./shard-stream.js";
import { isInMemory, type StreamSource } from "./source.js";
import type { SampleStream } from "./stream.js";
import type { StreamPosition } from "./stream-position.js";

/** What {@link openStream} is told. */
export interface StreamOptions {
  /** At least one. */
  readonly sources: readonly StreamSource[];
  /** How often each source is drawn from, as parts of their sum; default: all alike. */
  readonly weights?: readonly number[];
  readonly seed: number;
  /**
   * Samples of a source in shards that are shuffled together; default 4096. Two such blocks are in
   * memory, each of at most 256 MiB of pictures.
   */
  readonly shuffleBuffer?: number;
  /** Read only the part of one reader; default: there is but one. */
  readonly reader?: Reader;
  /** Go on here, over the same sources with the same options; default: the beginning. */
  readonly position?: StreamPosition;
}

/**
 * Opens the endless stream of all samples of some sources, shuffled anew in every pass by the seed.
 *
 * Samples in memory come in a random order of all of them. A source in shards is shuffled in the order of
 * its shards, and in blocks of samples from several shards. Where there are several sources, each sample
 * comes from one drawn by weight. A source that has other samples or shards than when the position was
 * taken begins its next pass.
 *
 * @throws ClipsmithError when the position is of other kinds of sources, weights don't fit, or there are
 *   fewer shards than readers
 */
export function openStream(options: StreamOptions): SampleStream {
  const { seed, shuffleBuffer = 4096, position, reader = { index: 0, count: 1 } } = options;
  const sources = options.sources.map((source) => readersPart(source, reader));
  const key = reader.count > 1 ? [seed, "reader", reader.index] : [seed];
  const { weights = sources.map(() => 1) } = options;
  if (weights.length !== sources.length || !weights.every((weight) => weight > 0)) {
    throw new ClipsmithError(
      `There must be a weight above 0 for each of the ${sources.length} sources; got ${weights.join(", ") || "none"}.`,
    );
  }
  const open = (source: StreamSource, key: readonly (string | number)[], at?: StreamPosition) => {
    if (isInMemory(source)) {
      if (at && ("lanes" in at || "sources" in at)) throw otherSources();
      return new MemoryStream(source, key, at);
    }
    if (at && !("lanes" in at)) throw otherSources();
    return new ShardStream(source, key, shuffleBuffer, at);
  };
  if (sources.length === 1) return open(sources[0]!, key, position);
  const mixed = position !== undefined && "sources" in position ? position : undefined;
  if (position !== undefined && mixed?.sources.length !== sources.length) throw otherSources();
  const streams = sources.map((source, i) =>
    open(source, [...key, "source", i], mixed?.sources[i]),
  );
  return new MixedStream(streams, weights, key, mixed?.drawn);
}

function otherSources(): ClipsmithError {
  return new ClipsmithError(
    "The stream of samples was begun over other sources. Go on with the same ones, in the same order.",
  );
}
