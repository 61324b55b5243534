import { resolve } from "node:path";
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { messageOf } from "../util/errors.js";
import { type ByteFile, readRange, Unreadable } from "./byte-file.js";
import { CAPTION_COLUMNS, captionsOf, columnName, isAddress } from "./captions.js";
import { findFile, PICTURE_EXTENSIONS } from "./collection.js";
import { missingColumn, PICTURE_COLUMNS } from "./list.js";
import { type ArchiveOptions, type Entry, MAX_ENTRY_BYTES, shardOf, tooLarge } from "./shard.js";
import type { Shard } from "./source.js";

/** Columns of pictures in files that hold the pictures themselves; img2dataset's bear an extension. */
const EMBEDDED_COLUMNS = [...PICTURE_COLUMNS, "img", "bytes", ...PICTURE_EXTENSIONS];

type Column = ReturnType<typeof parquetSchema>;

/** A value of a column of pictures: bytes, a path, or both as Hugging Face's data sets have them. */
type PictureValue =
  | Uint8Array
  | string
  | null
  | undefined
  | { readonly bytes?: Uint8Array | null; readonly path?: string | null };

/**
 * A Parquet file, read a row group at a time. Pictures are bytes, or Hugging Face's `{bytes, path}`, in
 * a column named as in lists, or img, bytes, or an extension such as jpg; or in the only column of bytes
 * there is; or paths relative to `folder`. Captions are strings or lists of strings. A sample's name is
 * `file.parquet:row`, rows counting from 1.
 *
 * @param open opens the file anew for each reading
 * @param folder where paths start; without it, pictures that are paths are left out
 */
export function parquetShard(
  name: string,
  open: () => ByteFile,
  {
    folder,
    maxEntryBytes = MAX_ENTRY_BYTES,
    captions = "required",
  }: ArchiveOptions & { readonly folder?: string } = {},
): Shard {
  return shardOf(name, (start) =>
    readParquet(name, open(), { folder, maxEntryBytes, captions, start }),
  );
}

async function* readParquet(
  name: string,
  bytes: ByteFile,
  {
    folder,
    maxEntryBytes,
    captions: wanted,
    start,
  }: Required<ArchiveOptions> & { folder: string | undefined; start: number },
): AsyncGenerator<Entry | undefined> {
  const file: AsyncBuffer = {
    byteLength: await bytes.size(),
    slice: (from, to = file.byteLength) => readRange(bytes, from, to),
  };
  if (file.byteLength === 0) throw new Unreadable("the shard is empty");
  const metadata = await readMetadata(file);
  checkCounts(metadata);
  if (metadata.num_rows === 0n) throw new Unreadable("the shard is empty");
  const columns = columnsOf(name, metadata, wanted);

  let row = 0;
  for (const group of metadata.row_groups) {
    const end = row + Number(group.num_rows);
    // Rows are entries, so whole groups can be passed over unread.
    const rows = end <= start ? [] : await readRows(file, metadata, columns, row, end);
    for (let i = 0; row < end; i++, row++) {
      if (row < start) {
        yield undefined;
        continue;
      }
      const where = `${name}:${row + 1}`;
      if (typeof rows === "string") {
        yield { where, reason: rows };
        continue;
      }
      const fields = rows[i]!;
      const picture = await pictureOf(
        fields[columns.picture] as PictureValue,
        folder,
        maxEntryBytes,
      );
      const captions = columns.captions === undefined ? [] : captionsIn(fields[columns.captions]);
      if ("problem" in picture) yield { where, reason: picture.problem };
      else if (captions.length === 0 && wanted === "required")
        yield { where, reason: "no caption" };
      else yield { name: where, picture: picture.picture, captions };
    }
  }
}

async function readMetadata(file: AsyncBuffer): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file);
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    // The table of contents is at the end.
    const magic = Buffer.from(await file.slice(0, Math.min(4, file.byteLength))).toString("latin1");
    const kind = magic === "PAR1" ? "the shard is truncated" : "the shard is damaged";
    throw new Unreadable(kind, messageOf(error), error);
  }
}

/** A damaged count of rows would ask for all the memory there is. Every row has a value in every column. */
function checkCounts({ num_rows, row_groups }: FileMetaData): void {
  const sum = row_groups.reduce((rows, group) => rows + group.num_rows, 0n);
  const whole = row_groups.every(({ num_rows: rows, columns }) =>
    columns.every(({ meta_data }) => meta_data !== undefined && meta_data.num_values >= rows),
  );
  if (sum !== num_rows || !whole) {
    throw new Unreadable("the shard is damaged", "its counts of rows contradict each other");
  }
}

/** The rows of a row group, or why none of them can be read. */
async function readRows(
  file: AsyncBuffer,
  metadata: FileMetaData,
  { picture, captions }: Columns,
  rowStart: number,
  rowEnd: number,
): Promise<Record<string, unknown>[] | string> {
  try {
    const rows = await parquetReadObjects({
      file,
      metadata,
      columns: captions === undefined ? [picture] : [picture, captions],
      rowStart,
      rowEnd,
      compressors,
      // Bytes are text only where the file says so.
      utf8: false,
    });
    if (rows.length === rowEnd - rowStart) return rows;
    return `the row cannot be read: its row group has ${rows.length} rows, not ${rowEnd - rowStart}`;
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    return `the row cannot be read: ${messageOf(error)}`;
  }
}

/** Names of the two columns, as the file spells them. */
interface Columns {
  readonly picture: string;
  /** Undefined where there is none, and captions are optional. */
  readonly captions: string | undefined;
}

function columnsOf(name: string, metadata: FileMetaData, wanted: "required" | "optional"): Columns {
  const columns = parquetSchema(metadata).children;
  const find = (names: readonly string[], among: readonly Column[]) => {
    const found = names.map((wanted) =>
      among.find(({ element }) => columnName(element.name) === wanted),
    );
    return found.find((column) => column !== undefined)?.element.name;
  };
  const embedded = columns.filter(holdsBytes);
  const picture =
    find(EMBEDDED_COLUMNS, embedded) ??
    (embedded.length === 1 ? embedded[0]!.element.name : find(PICTURE_COLUMNS, columns));
  const captions = find(CAPTION_COLUMNS, columns);
  if (picture !== undefined && (captions !== undefined || wanted === "optional")) {
    return { picture, captions };
  }
  const found = columns.map(({ element }) => element.name);
  throw picture === undefined
    ? missingColumn(name, found, "pictures", PICTURE_COLUMNS)
    : missingColumn(name, found, "captions", CAPTION_COLUMNS);
}

/** Whether a column is of bytes that are no text, or of objects with such bytes. */
function holdsBytes({ element, children }: Column): boolean {
  const { type, converted_type: converted, logical_type: logical } = element;
  if (children.length > 0) {
    return children.some((child) => child.element.name === "bytes" && holdsBytes(child));
  }
  return type === "BYTE_ARRAY" && converted === undefined && logical === undefined;
}

/** A caption that the file does not say is text comes as bytes. */
function captionsIn(value: unknown): string[] {
  const text = (item: unknown) =>
    item instanceof Uint8Array ? new TextDecoder().decode(item) : item;
  return captionsOf([value].flat().map(text));
}

async function pictureOf(
  value: PictureValue,
  folder: string | undefined,
  maxEntryBytes: number,
): Promise<{ picture: string | Uint8Array } | { problem: string }> {
  const inside = value !== null && typeof value === "object" && !(value instanceof Uint8Array);
  const picture = inside ? (value.bytes ?? value.path) : value;
  if (picture instanceof Uint8Array) {
    if (picture.length === 0) return { problem: "the picture is empty" };
    if (picture.length > maxEntryBytes) {
      return { problem: tooLarge(picture.length, maxEntryBytes) };
    }
    // A view would keep the whole row group in memory.
    return { picture: new Uint8Array(picture) };
  }
  if (typeof picture !== "string" || picture.trim() === "") return { problem: "no picture" };
  const path = picture.trim();
  if (isAddress(path)) {
    return { problem: `the picture is a web address, download it first: ${path}` };
  }
  if (folder === undefined) {
    return {
      problem: `the picture is a path, and those can be followed on this machine alone: ${path}`,
    };
  }
  const found = await findFile(resolve(folder, path));
  return found === undefined
    ? { problem: `the picture does not exist: ${path}` }
    : { picture: found };
}
