import type { ColumnOptions } from "./columns.js";
import type { RemoteOptions } from "./remote-file.js";
import type { Sample, Skipped } from "./sample.js";

/** What openSource may be told. */
export interface SourceOptions extends RemoteOptions, ColumnOptions {
  /**
   * Most bytes of a picture, or of a file of captions, in an archive; samples with larger ones are left
   * out. Default: 256 MiB.
   */
  readonly maxEntryBytes?: number;
  /** What becomes of a picture without captions: left out ("required", the default), or a sample with none. */
  readonly captions?: "required" | "optional";
}

/** A picture with what people wrote about it, as a source hands it out. */
export interface SourceSample {
  /** Names it in messages and keys its random numbers: a file's path, or `shard.tar/key`. */
  readonly name: string;
  /** The path of the picture's file, or the bytes of one. */
  readonly picture: string | Uint8Array;
  /** Each with at least one visible character; at least one, unless captions are optional. */
  readonly captions: readonly string[];
}

/** What a collection holds that is read at once. */
export interface InMemory {
  readonly samples: readonly Sample[];
  readonly skipped: readonly Skipped[];
  /** How it was understood, in sentences for the user. */
  readonly notes: readonly string[];
}

/** Part of a source that is read from its beginning to its end: a tar file, a Parquet file, a list. */
export interface Shard {
  /** Path or address. */
  readonly name: string;
  /**
   * Its samples, and what had to be left out, from the `start`-th such entry on (default 0): always
   * the same entries in the same order, read as they are asked for. A shard that cannot be read, or not
   * any further, ends with an entry that says so, its `rest` set.
   *
   * @throws ClipsmithError for what concerns the whole source: a table without a column of captions
   */
  read(start?: number): AsyncIterable<SourceSample | Skipped>;
  /** What reading gives, where all of it is in memory anyway. */
  readonly inMemory?: InMemory;
}

/** How a source was opened. */
export interface OpenedSource {
  readonly spec: string;
  readonly options: SourceOptions;
  /** The part that is held out of it, if any. */
  readonly heldOut?: number;
}

/** Where samples come from, however many there are: what is in memory is a shard at a time, at most. */
export interface SampleSource {
  /** What the user calls it. */
  readonly name: string;
  /** How it was understood, in sentences for the user. */
  readonly notes?: readonly string[];
  /** At least one. */
  readonly shards: readonly Shard[];
  /** What openSource was told, so that another thread can open it too. */
  readonly opened?: OpenedSource;
}

/** Samples that are in memory, or a source that is read shard by shard. */
export type StreamSource = readonly Sample[] | SampleSource;

export function isInMemory(source: StreamSource): source is readonly Sample[] {
  return Array.isArray(source);
}

/** All of a source, if it is in memory: then its samples can come in any order. */
export function inMemory({ shards }: SampleSource): InMemory | undefined {
  const parts = shards.flatMap((shard) => shard.inMemory ?? []);
  if (parts.length < shards.length) return undefined;
  return {
    samples: parts.flatMap(({ samples }) => samples),
    skipped: parts.flatMap(({ skipped }) => skipped),
    notes: parts.flatMap(({ notes }) => notes),
  };
}
