import { brotliDecompressSync, gunzipSync } from "node:zlib";
import type { ColumnMetaData } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { byteAt, type Cursor, readPageHeader, readVarint, zigzag } from "./parquet-page-header.js";

/** A column of bytes in one row group. */
export interface ByteColumn {
  readonly codec: ColumnMetaData["codec"];
  readonly rows: number;
  /** Values in all pages, among them those that are missing; of lists, the items. */
  readonly values: number;
  /** How many of the nodes on the way to a value may be missing or repeated, and how many repeated. */
  readonly maxDefinition: number;
  readonly maxRepetition: number;
}

/** Encodings by their numbers in the format. */
const PLAIN = 0;
const DICTIONARIES = [2, 8];
const DELTA_LENGTHS = 6;
const DELTA_BYTES = 7;

/** Bytes that a page's values have in common with the ones before them; a page is of a megabyte or so. */
const MOST_SHARED_BYTES = 2 ** 28;

/**
 * The values of each row: one or none or, of lists, any number. They lie in `chunk` or in what was
 * decompressed from it.
 *
 * hyparquet's reader of pages believes counts and lengths in them. In a damaged page they ask for all the
 * memory there is, or for hours, and where memory ends Node ends the process, whichever thread asked. Here
 * no count goes beyond what the table of contents announces, and no length beyond the page.
 *
 * @param chunk the column's pages
 * @throws Error when they are damaged
 */
export function readByteColumn(chunk: Uint8Array, column: ByteColumn): Uint8Array[][] {
  const rows: Uint8Array[][] = [];
  let dictionary: Uint8Array[] | undefined;
  let left = column.values;
  for (let at = 0; left > 0; ) {
    const header = readPageHeader(chunk, at);
    const content = part(chunk, header.end, header.compressedBytes);
    at = header.end + header.compressedBytes;
    if (header.kind === "other") continue;
    if (header.kind === "dictionary") {
      const page = decompress(content, header.bytes, column.codec);
      dictionary = plainValues(page, { offset: 0 }, header.values);
      continue;
    }
    if (header.values > left) throw new Error("a page has more values than its column");
    left -= header.values;
    const isFirst = header.kind === "data";
    const { repetitionBytes, definitionBytes, bytes } = header;
    const levelBytes = repetitionBytes + definitionBytes;
    const page = isFirst ? decompress(content, bytes, column.codec) : content;
    const cursor = { offset: 0 };
    const levels = (max: number, length: number | undefined) =>
      max === 0 ? undefined : readLevels(page, cursor, max, header.values, length);
    const repetitions = levels(column.maxRepetition, isFirst ? undefined : repetitionBytes);
    const definitions = levels(column.maxDefinition, isFirst ? undefined : definitionBytes);
    const rest = part(page, isFirst ? cursor.offset : levelBytes);
    const size = isFirst ? rest.length : bytes - levelBytes;
    const isCompressed = !isFirst && header.isCompressed && size > 0;
    const present = definitions
      ? definitions.reduce((sum, level) => sum + Number(level === column.maxDefinition), 0)
      : header.values;
    const values = valuesIn(
      isCompressed ? decompress(rest, size, column.codec) : rest,
      header.encoding,
      present,
      dictionary,
    );
    let next = 0;
    for (let i = 0; i < header.values; i++) {
      if (!repetitions?.[i]) rows.push([]);
      if (definitions && definitions[i] !== column.maxDefinition) continue;
      const row = rows.at(-1);
      if (row === undefined) throw new Error("a page begins in the middle of a row");
      row.push(values[next++]!);
    }
  }
  if (rows.length === column.rows) return rows;
  throw new Error(`its row group has ${rows.length} rows, not ${column.rows}`);
}

function decompress(content: Uint8Array, bytes: number, codec: ByteColumn["codec"]): Uint8Array {
  if (codec === "UNCOMPRESSED") return content;
  const limit = { maxOutputLength: Math.max(1, bytes) };
  const page =
    codec === "GZIP"
      ? gunzipSync(content, limit)
      : codec === "BROTLI"
        ? brotliDecompressSync(content, limit)
        : compressors[codec]?.(content, bytes);
  if (page === undefined) throw new Error(`its compression is unknown: ${codec}`);
  if (page.length === bytes) return page;
  throw new Error(`a page has ${page.length} bytes when decompressed, not ${bytes}`);
}

/** Levels of all values of a page, in as many bits as the greatest needs. */
function readLevels(
  page: Uint8Array,
  cursor: Cursor,
  max: number,
  values: number,
  length: number | undefined,
): Uint8Array {
  let bytes = length;
  if (bytes === undefined) {
    bytes = uint32(page, cursor.offset);
    cursor.offset += 4;
  }
  const levels = new Uint8Array(values);
  readRuns(part(page, cursor.offset, bytes), 32 - Math.clz32(max), levels);
  cursor.offset += bytes;
  return levels;
}

/** Fills `output` from runs of one number, and of numbers of `width` bits each. */
function readRuns(bytes: Uint8Array, width: number, output: Uint8Array | Uint32Array): void {
  if (width > 32) throw new Error("a page is damaged: its numbers have too many bits");
  const cursor = { offset: 0 };
  const widthBytes = Math.ceil(width / 8);
  for (let at = 0; at < output.length; ) {
    const header = readVarint(bytes, cursor);
    const count = Math.floor(header / 2);
    if (header % 2 === 0) {
      let value = 0;
      for (let i = 0; i < widthBytes; i++) value += byteAt(bytes, cursor) * 2 ** (8 * i);
      // A run may go on beyond the values, which fill() does not.
      output.fill(value, at, at + count);
      at += count;
    } else {
      // Always eight numbers or a multiple; at the end there may be more than values.
      const numbers = Math.min(8 * count, output.length - at);
      const packed = part(bytes, cursor.offset, Math.ceil((numbers * width) / 8));
      for (let i = 0; i < numbers; i++) output[at++] = bitsAt(packed, i * width, width);
      cursor.offset += count * width;
    }
  }
}

/** A number of up to 32 bits, least bit first. */
function bitsAt(bytes: Uint8Array, start: number, width: number): number {
  let value = 0;
  for (let got = 0; got < width; ) {
    const bit = start + got;
    const take = Math.min(8 - (bit & 7), width - got);
    value += ((bytes[bit >> 3]! >> (bit & 7)) & (2 ** take - 1)) * 2 ** got;
    got += take;
  }
  return value;
}

function valuesIn(
  page: Uint8Array,
  encoding: number,
  count: number,
  dictionary: readonly Uint8Array[] | undefined,
): Uint8Array[] {
  const cursor = { offset: 0 };
  if (count === 0) return [];
  if (encoding === PLAIN) return plainValues(page, cursor, count);
  if (DICTIONARIES.includes(encoding)) {
    const places = new Uint32Array(count);
    const width = byteAt(page, cursor);
    if (width > 0) readRuns(part(page, cursor.offset), width, places);
    return Array.from(places, (place) => {
      const value = dictionary?.[place];
      if (value === undefined) throw new Error("a value is not in its column's dictionary");
      return value;
    });
  }
  if (encoding === DELTA_LENGTHS) return deltaLengthValues(page, cursor, count);
  if (encoding === DELTA_BYTES) {
    const shared = readDeltas(page, cursor, count);
    const ends = deltaLengthValues(page, cursor, count);
    let before: Uint8Array = new Uint8Array();
    let bytes = 0;
    return ends.map((end, i) => {
      const start = part(before, 0, shared[i]);
      bytes += start.length;
      if (bytes > MOST_SHARED_BYTES) throw new Error("a page's values are too long");
      before = start.length === 0 ? end : Buffer.concat([start, end]);
      return before;
    });
  }
  throw new Error(`its encoding is unknown: ${encoding}`);
}

/** Values with the length before each. */
function plainValues(page: Uint8Array, cursor: Cursor, count: number): Uint8Array[] {
  const values: Uint8Array[] = [];
  while (values.length < count) {
    const length = uint32(page, cursor.offset);
    values.push(part(page, cursor.offset + 4, length));
    cursor.offset += 4 + length;
  }
  return values;
}

/** Values one after another, behind their lengths. */
function deltaLengthValues(page: Uint8Array, cursor: Cursor, count: number): Uint8Array[] {
  return Array.from(readDeltas(page, cursor, count), (length) => {
    const value = part(page, cursor.offset, length);
    cursor.offset += length;
    return value;
  });
}

/** Numbers as differences, in blocks of a least difference and what is beyond it, packed in bits. */
function readDeltas(page: Uint8Array, cursor: Cursor, count: number): Int32Array {
  const blockSize = readVarint(page, cursor);
  const minis = readVarint(page, cursor);
  const total = readVarint(page, cursor);
  const miniSize = blockSize / minis;
  if (total !== count || !(miniSize > 0) || miniSize % 8 !== 0) {
    throw new Error("a page is damaged: it contradicts itself");
  }
  const numbers = new Int32Array(count);
  let value = zigzag(readVarint(page, cursor));
  numbers[0] = value;
  for (let at = 1; at < count; ) {
    const least = zigzag(readVarint(page, cursor, 10));
    const widths = part(page, cursor.offset, minis);
    cursor.offset += minis;
    for (const width of widths) {
      if (at >= count) break;
      if (width > 32) throw new Error("a page is damaged: its numbers have too many bits");
      const mini = Math.min(miniSize, count - at);
      const packed = part(page, cursor.offset, Math.ceil((mini * width) / 8));
      for (let i = 0; i < mini; i++) {
        value = (value + least + bitsAt(packed, i * width, width)) | 0;
        numbers[at++] = value;
      }
      cursor.offset += (miniSize * width) / 8;
    }
  }
  return numbers;
}

function uint32(bytes: Uint8Array, offset: number): number {
  const [a, b, c, d] = part(bytes, offset, 4);
  return a! + b! * 2 ** 8 + c! * 2 ** 16 + d! * 2 ** 24;
}

/** Bytes from `start` on, `length` of them or all; unlike subarray, not fewer. */
function part(bytes: Uint8Array, start: number, length = bytes.length - start): Uint8Array {
  if (!(start >= 0 && length >= 0 && start + length <= bytes.length)) {
    throw new Error("a page is cut off");
  }
  return bytes.subarray(start, start + length);
}
