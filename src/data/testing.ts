/** Sources for tests. */
import { pack } from "tar-stream";
import type { ByteFile } from "./byte-file.js";
import type { Entry } from "./shard.js";
import type { Shard } from "./source.js";

/** A tar of these files, in order. */
export async function tarOf(
  files: readonly (readonly [string, string | Buffer])[],
): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of files) tar.entry({ name }, content);
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Bytes as a file that is read in pieces of `step`. */
export function memoryFile(bytes: Uint8Array, step = 1000): ByteFile {
  return {
    async *read(start = 0, end = bytes.length) {
      for (let at = start; at < end; at += step) {
        yield bytes.subarray(at, Math.min(at + step, end));
      }
    },
    size: async () => bytes.length,
  };
}

export async function entriesOf(shard: Shard, start?: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of shard.read(start)) entries.push(entry);
  return entries;
}

/** Entries as lines of a table: name, picture as text, captions; or where, reason. */
export function tableOf(entries: readonly Entry[]): unknown[] {
  return entries.map((entry) => {
    if ("reason" in entry) return [entry.where, entry.reason];
    const { name, picture, captions } = entry;
    return [
      name,
      typeof picture === "string" ? picture : Buffer.from(picture).toString(),
      captions,
    ];
  });
}
