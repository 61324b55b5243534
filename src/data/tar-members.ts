import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import type { ByteFile } from "./byte-file.js";
import { type Extract, extract } from "./tar-stream.js";

/** A file in a tar: its header, and a stream of what it holds. */
export type Member = Extract extends AsyncIterable<infer Member> ? Member : never;

/** The files in a tar, each to be read before the next. */
export async function* membersOf(file: ByteFile): AsyncGenerator<Member> {
  const input = Readable.from(plain(file.read()), { objectMode: false });
  const members = extract();
  // pipe() does not pass errors on.
  input.on("error", (error) => members.destroy(error));
  input.pipe(members);
  try {
    yield* members;
  } finally {
    input.destroy();
    members.destroy();
  }
}

/** The bytes, decompressed if they are gzip's, whatever the file's name says. */
async function* plain(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = bytes[Symbol.asyncIterator]();
  const first = await chunks.next();
  if (first.done) return;
  const whole = prepend(first.value, chunks);
  if (first.value[0] !== 0x1f || first.value[1] !== 0x8b) return yield* whole;
  const input = Readable.from(whole, { objectMode: false });
  const output = createGunzip();
  input.on("error", (error) => output.destroy(error));
  try {
    yield* input.pipe(output);
  } finally {
    input.destroy();
  }
}

async function* prepend<T>(first: T, rest: AsyncIterator<T>): AsyncGenerator<T> {
  try {
    yield first;
    for (;;) {
      const next = await rest.next();
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}
