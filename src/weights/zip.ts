import type { FileHandle } from "node:fs/promises";
import { ClipsmithError } from "../util/errors.js";
import { readFully } from "./read-file.js";

/** A file inside an archive. */
export interface ZipEntry {
  readonly name: string;
  readonly bytes: number;
  /** Where its local header begins, in the archive. */
  readonly header: number;
  /** Neither compressed nor encrypted. */
  readonly isPlain: boolean;
}

/** First bytes of an archive that holds anything. */
export const ZIP_SIGNATURE = Uint8Array.of(0x50, 0x4b, 3, 4);

const LOCAL_HEADER = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER = 0x02014b50;
const CENTRAL_HEADER_BYTES = 46;
const END = 0x06054b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const END_64_LOCATOR = 0x07064b50;
const END_64_LOCATOR_BYTES = 20;
const END_64 = 0x06064b50;
const END_64_BYTES = 56;
/** The kind of extra field that holds the sizes that do not fit 32 bits. */
const ZIP_64 = 1;
const TOO_LARGE_32 = 0xffffffff;
const ENCRYPTED = 1;
/** Against absurd allocations; PyTorch writes some 80 bytes for a tensor. */
const MAX_DIRECTORY_BYTES = 2 ** 28;

/**
 * The files in a zip archive by name, from the directory at its end (APPNOTE.TXT of PKWARE, with its
 * 64-bit form).
 *
 * @throws ClipsmithError if the archive is cut short or damaged
 */
export async function readZipDirectory(
  path: string,
  file: FileHandle,
): Promise<Map<string, ZipEntry>> {
  const { size } = await file.stat();
  const { start, bytes } = await findDirectory(path, file, size);
  if (start + bytes > size || bytes > MAX_DIRECTORY_BYTES) throw damaged(path, "its directory");
  const directory = Buffer.alloc(bytes);
  await readFully(path, file, directory, start);
  const entries = new Map<string, ZipEntry>();
  for (let at = 0; at < bytes; ) {
    if (at + CENTRAL_HEADER_BYTES > bytes || directory.readUInt32LE(at) !== CENTRAL_HEADER) {
      throw damaged(path, "its directory");
    }
    const nameEnd = at + CENTRAL_HEADER_BYTES + directory.readUInt16LE(at + 28);
    const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
    const name = directory.toString("utf8", at + CENTRAL_HEADER_BYTES, nameEnd);
    const extra = directory.subarray(nameEnd, extraEnd);
    const [length, , header] = sizes(
      extra,
      [24, 20, 42].map((field) => directory.readUInt32LE(at + field)),
    );
    if (header! + LOCAL_HEADER_BYTES + length! > size) throw cutShort(path, size);
    entries.set(name, {
      name,
      bytes: length!,
      header: header!,
      isPlain:
        directory.readUInt16LE(at + 10) === 0 && !(directory.readUInt16LE(at + 8) & ENCRYPTED),
    });
    at = extraEnd + directory.readUInt16LE(at + 32);
  }
  return entries;
}

/**
 * Where an entry's own bytes begin, in the archive.
 *
 * @throws ClipsmithError if the entry is compressed or encrypted, cut short or damaged
 */
export async function entryStart(
  path: string,
  file: FileHandle,
  { name, header, bytes, isPlain }: ZipEntry,
): Promise<number> {
  if (!isPlain) {
    throw new ClipsmithError(
      `${path}: ${name} is compressed or encrypted inside the archive, which torch.save never does. Save it again with torch.save.`,
    );
  }
  const local = Buffer.alloc(LOCAL_HEADER_BYTES);
  await readFully(path, file, local, header);
  if (local.readUInt32LE(0) !== LOCAL_HEADER) throw damaged(path, `what should be ${name}`);
  const start = header + LOCAL_HEADER_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28);
  const { size } = await file.stat();
  if (start + bytes > size) throw cutShort(path, size);
  return start;
}

async function findDirectory(
  path: string,
  file: FileHandle,
  size: number,
): Promise<{ start: number; bytes: number }> {
  const tail = Buffer.alloc(Math.min(size, MAX_COMMENT_BYTES + END_BYTES + END_64_LOCATOR_BYTES));
  await readFully(path, file, tail, size - tail.length);
  let end = tail.length - END_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== END) end--;
  if (end < 0) throw cutShort(path, size);
  const directory = { start: tail.readUInt32LE(end + 16), bytes: tail.readUInt32LE(end + 12) };
  const locator = end - END_64_LOCATOR_BYTES;
  if (locator < 0 || tail.readUInt32LE(locator) !== END_64_LOCATOR) return directory;
  const position = uint64(tail, locator + 8);
  if (position + END_64_BYTES > size) throw damaged(path, "its directory");
  const end64 = Buffer.alloc(END_64_BYTES);
  await readFully(path, file, end64, position);
  if (end64.readUInt32LE(0) !== END_64) throw damaged(path, "its directory");
  return { start: uint64(end64, 48), bytes: uint64(end64, 40) };
}

/**
 * An entry's length, stored length and place of its header, from its 32-bit fields: those that do not fit
 * stand in an extra field, in this order.
 */
function sizes(extra: Buffer, fields: readonly number[]): number[] {
  const large: number[] = [];
  for (let at = 0; at + 4 <= extra.length; ) {
    const end = Math.min(extra.length, at + 4 + extra.readUInt16LE(at + 2));
    if (extra.readUInt16LE(at) === ZIP_64) {
      for (let i = at + 4; i + 8 <= end; i += 8) large.push(uint64(extra, i));
    }
    at = end;
  }
  return fields.map((field) => (field === TOO_LARGE_32 ? (large.shift() ?? field) : field));
}

function uint64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}

function cutShort(path: string, size: number): ClipsmithError {
  return new ClipsmithError(
    `${path} is cut short: the archive that it is goes on after its ${size} bytes. Copy or download it again.`,
  );
}

function damaged(path: string, what: string): ClipsmithError {
  return new ClipsmithError(
    `${path} is damaged: ${what} is no part of a zip archive. Copy or download it again.`,
  );
}
