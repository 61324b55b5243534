/** Sources for tests. */
import { deflateRawSync } from "node:zlib";
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

/** How a zip archive is written. */
export interface ZipSettings {
  /** 0 stores, 8 deflates (default). */
  readonly method?: number;
  /** General purpose bits: 1 is encrypted, 0x800 says that names are UTF-8 (default). */
  readonly flags?: number;
  /** In the format's 64-bit form. */
  readonly large?: boolean;
  /** What the directory says of each file's size, in place of the truth. */
  readonly size?: number;
}

/** A zip archive of these files, in order; names are bytes where they are no UTF-8. */
export function zipOf(
  files: readonly (readonly [string | Buffer, string | Buffer])[],
  { method = 8, flags = 0x800, large = false, size }: ZipSettings = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  const add = (part: Buffer) => {
    parts.push(part);
    at += part.length;
  };
  for (const [name, text] of files) {
    const [path, content] = [Buffer.from(name as string), Buffer.from(text as string)];
    const stored = method === 0 ? content : deflateRawSync(content);
    const sizes = [size ?? content.length, stored.length, at];
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(path.length, 26);
    add(Buffer.concat([local, path, stored]));
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50);
    central.writeUInt16LE(flags, 8);
    central.writeUInt16LE(method, 10);
    central.writeUInt16LE(path.length, 28);
    const extra = Buffer.alloc(large ? 28 : 0);
    for (const [i, field] of [24, 20, 42].entries()) {
      central.writeUInt32LE(large ? 0xffffffff : sizes[i]!, field);
      if (large) extra.writeBigUInt64LE(BigInt(sizes[i]!), 4 + 8 * i);
    }
    if (large) extra.writeUInt16LE(1);
    if (large) extra.writeUInt16LE(24, 2);
    central.writeUInt16LE(extra.length, 30);
    directory.push(central, path, extra);
  }
  const start = at;
  for (const part of directory) add(part);
  const bytes = at - start;
  if (large) {
    const end = Buffer.alloc(76);
    end.writeUInt32LE(0x06064b50);
    end.writeBigUInt64LE(BigInt(files.length), 32);
    end.writeBigUInt64LE(BigInt(bytes), 40);
    end.writeBigUInt64LE(BigInt(start), 48);
    end.writeUInt32LE(0x07064b50, 56);
    end.writeBigUInt64LE(BigInt(at), 64);
    add(end);
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(large ? 0xffff : files.length, 10);
  end.writeUInt32LE(large ? 0xffffffff : bytes, 12);
  end.writeUInt32LE(large ? 0xffffffff : start, 16);
  add(end);
  return Buffer.concat(parts);
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
