import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { messageOf } from "../util/errors.js";
import { STAND_IN_BYTES, standInOf } from "../util/stand-in.js";

/** A file's bytes, wherever it lies. What one object reads is one version of the file. */
export interface ByteFile {
  /** The bytes from `start` (default 0) to before `end` (default: to the end). @throws Unreadable */
  read(start?: number, end?: number): AsyncIterable<Uint8Array>;
  /** In bytes. @throws Unreadable */
  size(): Promise<number>;
}

/** Why a shard cannot be read, or not any further: its message is the reason of what is left out. */
export class Unreadable extends Error {
  constructor(kind: string, detail?: string, cause?: unknown) {
    super(detail === undefined ? kind : `${kind}: ${detail}`, { cause });
  }
}

/** The kind of reason of every failure to get at a shard's bytes. */
export const CANNOT_BE_READ = "the shard cannot be read";

/** The reason where another version of a file took its place. */
export const CHANGED = "the shard changed while it was read";

/** A file on disk. */
export class LocalFile implements ByteFile {
  constructor(readonly path: string) {}

  async *read(start = 0, end = Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array> {
    if (end <= start) return;
    try {
      // `end` is the last byte here.
      yield* createReadStream(this.path, { start, end: end - 1, highWaterMark: 2 ** 18 });
    } catch (error) {
      throw new Unreadable(CANNOT_BE_READ, messageOf(error), error);
    }
  }

  async size(): Promise<number> {
    try {
      return (await stat(this.path)).size;
    } catch (error) {
      throw new Unreadable(CANNOT_BE_READ, messageOf(error), error);
    }
  }
}

/** Why a shard cannot be read that only stands for a file; undefined for any other. @throws Unreadable */
export async function standsIn(file: ByteFile): Promise<Unreadable | undefined> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.read(0, STAND_IN_BYTES)) chunks.push(chunk);
  const standIn = standInOf(Buffer.concat(chunks));
  return standIn === undefined
    ? undefined
    : new Unreadable("the shard is damaged", `it is ${standIn}`);
}

/** The bytes of a file from `start` to before `end`, in memory of their own. */
export async function readRange(file: ByteFile, start: number, end: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(end - start);
  let length = 0;
  for await (const chunk of file.read(start, end)) {
    bytes.set(chunk, length);
    length += chunk.length;
  }
  if (length < bytes.length) {
    throw new Unreadable("the shard is truncated", `it ends at byte ${start + length} of ${end}`);
  }
  return bytes.buffer;
}
