import { resolve } from "node:path";
import {
  type AsyncBuffer,
  type ColumnMetaData,
  type FileMetaData,
  parquetMetadataAsync,
  parquetSchema,
  type RowGroup,
} from "hyparquet";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { type ByteFile, readRange, standsIn, Unreadable } from "./byte-file.js";
import { captionsOf, columnName, isAddress } from "./captions.js";
import { type ColumnOptions, columnNames, missingColumn, PATH_COLUMNS } from "./columns.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { readByteColumn } from "./parquet-pages.js";
import { findFile } from "./picture-finder.js";
import { PICTURE_EXTENSIONS } from "./picture-kinds.js";
import { type ArchiveOptions, type Entry, MAX_ENTRY_BYTES, shardOf, tooLarge } from "./shard.js";
import type { Shard } from "./source.js";

/** Columns of pictures in files that hold the pictures themselves; img2dataset's bear an extension. */
const EMBEDDED_COLUMNS = [...PATH_COLUMNS, "img", "bytes", ...PICTURE_EXTENSIONS];

type Column = ReturnType<typeof parquetSchema>;

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
    ...columns
  }: ArchiveOptions & ColumnOptions & { readonly folder?: string } = {},
): Shard {
  return shardOf(name, (start) =>
    readParquet(name, open(), { folder, maxEntryBytes, captions, start, columns }),
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
    columns: named,
  }: Required<ArchiveOptions> & {
    folder: string | undefined;
    start: number;
    columns: ColumnOptions;
  },
): AsyncGenerator<Entry | undefined> {
  const file: AsyncBuffer = {
    byteLength: await bytes.size(),
    slice: (from, to = file.byteLength) => readRange(bytes, from, to),
  };
  if (file.byteLength === 0) throw new Unreadable("the shard is empty");
  const { groups, columns } = await readContents(name, file, wanted, named).catch(async (error) => {
    throw (await standsIn(bytes).catch(() => undefined)) ?? error;
  });

  let row = 0;
  for (const group of groups) {
    const end = row + Number(group.num_rows);
    // Rows are entries, so whole groups can be passed over unread.
    const rows = end <= start ? [] : await readRows(file, group, columns);
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
      const { picture: value, captions: texts } = rows[i]!;
      const picture = await pictureOf(value, folder, maxEntryBytes);
      const captions = captionsOf(texts);
      if ("problem" in picture) yield { where, reason: picture.problem };
      else if (captions.length > 0 || wanted === "optional")
        yield { name: where, picture: picture.picture, captions };
      else yield { where, reason: texts.includes(undefined) ? NOT_UTF8 : "no caption" };
    }
  }
}

/** What the table of contents says: groups of rows, and where pictures and captions are in them. */
async function readContents(
  name: string,
  file: AsyncBuffer,
  wanted: "required" | "optional",
  named: ColumnOptions,
): Promise<{ groups: readonly RowGroup[]; columns: Columns }> {
  try {
    const metadata = await parquetMetadataAsync(file);
    checkCounts(metadata);
    return { groups: metadata.row_groups, columns: columnsOf(name, metadata, wanted, named) };
  } catch (error) {
    if (error instanceof Unreadable || error instanceof ClipsmithError) throw error;
    // The table of contents is at the end.
    const magic = Buffer.from(await file.slice(0, Math.min(4, file.byteLength))).toString("latin1");
    const end = Buffer.from(await file.slice(Math.max(0, file.byteLength - 4))).toString("latin1");
    const isCut = magic === "PAR1" && end !== "PAR1";
    const kind = isCut ? "the shard is truncated" : "the shard is damaged";
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
  if (num_rows === 0n) throw new Unreadable("the shard is empty");
}

/** What a row holds. */
interface Row {
  /** Bytes, a path, or neither. */
  readonly picture: Uint8Array | string | undefined;
  /** Undefined for those that are not UTF-8. */
  readonly captions: readonly (string | undefined)[];
}

/** The rows of a row group, or why none of them can be read. */
async function readRows(
  file: AsyncBuffer,
  group: RowGroup,
  { bytes, path, captions }: Columns,
): Promise<Row[] | string> {
  const leaves = [bytes, path, captions].filter((leaf) => leaf !== undefined);
  try {
    const chunks = await readChunks(
      file,
      leaves.map(({ name }) => chunkOf(group, name)),
    );
    const values = new Map(
      leaves.map((leaf, i) => {
        const { meta, content } = chunks[i]!;
        const { codec, num_values } = meta;
        const counts = { rows: Number(group.num_rows), values: Number(num_values) };
        return [leaf, readByteColumn(content, { ...leaf, ...counts, codec })];
      }),
    );
    const of = (leaf: Leaf | undefined, row: number) => (leaf && values.get(leaf)?.[row]) ?? [];
    return Array.from({ length: Number(group.num_rows) }, (_, row) => ({
      picture: of(bytes, row)[0] ?? of(path, row).map((text) => decodeText(text))[0],
      captions: of(captions, row).map((text) => decodeText(text)),
    }));
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    return `the row cannot be read: ${messageOf(error)}`;
  }
}

function chunkOf(group: RowGroup, name: string): ColumnMetaData {
  const chunk = group.columns.find(({ meta_data }) => meta_data?.path_in_schema.join() === name);
  if (chunk?.meta_data === undefined) throw new Error(`its row group lacks the column ${name}`);
  if (chunk.file_path !== undefined) throw new Error("its column is in another file");
  return chunk.meta_data;
}

/** Bytes between columns that are read along, to save a request. */
const MOST_GAP = 2 ** 16;

/** The pages of some columns, all at once where they lie together. */
async function readChunks(
  file: AsyncBuffer,
  columns: readonly ColumnMetaData[],
): Promise<{ meta: ColumnMetaData; content: Uint8Array }[]> {
  const ranges = columns.map((meta) => {
    const start = Number(meta.dictionary_page_offset || meta.data_page_offset);
    const end = start + Number(meta.total_compressed_size);
    if (start >= 0 && start <= end && end <= file.byteLength) return { meta, start, end };
    throw new Error("its column is said to be where the file is not");
  });
  const start = Math.min(...ranges.map((range) => range.start));
  const end = Math.max(...ranges.map((range) => range.end));
  const sum = ranges.reduce((bytes, range) => bytes + range.end - range.start, 0);
  if (end - start <= sum + MOST_GAP) {
    const all = await file.slice(start, end);
    return ranges.map((range) => ({
      meta: range.meta,
      content: new Uint8Array(all, range.start - start, range.end - range.start),
    }));
  }
  return Promise.all(
    ranges.map(async (range) => ({
      meta: range.meta,
      content: new Uint8Array(await file.slice(range.start, range.end)),
    })),
  );
}

/** A column of bytes or texts, perhaps within another. */
interface Leaf {
  /** The names on the way to it, joined by commas. */
  readonly name: string;
  /** As {@link ByteColumn} has them. */
  readonly maxDefinition: number;
  readonly maxRepetition: number;
}

interface Columns {
  /** Of pictures: one of bytes, or of paths, or both. */
  readonly bytes: Leaf | undefined;
  readonly path: Leaf | undefined;
  /** Undefined where there is none and captions are optional; and where they are no text. */
  readonly captions: Leaf | undefined;
}

function columnsOf(
  name: string,
  metadata: FileMetaData,
  wanted: "required" | "optional",
  named: ColumnOptions,
): Columns {
  const names = columnNames(named);
  const columns = parquetSchema(metadata).children;
  const find = (names: readonly string[], among: readonly Column[]) => {
    const found = names.map((wanted) =>
      among.find(({ element }) => columnName(element.name) === wanted),
    );
    return found.find((column) => column !== undefined);
  };
  const embedded = columns.filter(holdsBytes);
  const picture =
    named.pictureColumn !== undefined
      ? find(names.pictures, columns)
      : (find(EMBEDDED_COLUMNS, embedded) ??
        (embedded.length === 1 ? embedded[0] : find(PATH_COLUMNS, columns)));
  const captions = find(names.captions, columns);
  if (picture !== undefined && (captions !== undefined || wanted === "optional")) {
    return { ...pictureLeaves(picture), captions: captions && leafOf(captions) };
  }
  const found = columns.map(({ element }) => element.name);
  throw picture === undefined
    ? missingColumn(name, found, "pictures", names.pictures)
    : missingColumn(name, found, "captions", names.captions);
}

/** Where a column of pictures has its bytes and its paths. */
function pictureLeaves(column: Column): Pick<Columns, "bytes" | "path"> {
  // A list of pictures is none.
  const single = (leaf: Leaf | undefined) => (leaf?.maxRepetition === 0 ? leaf : undefined);
  if (column.children.length > 0) {
    const child = (name: string) => {
      const found = column.children.find(({ element }) => element.name === name);
      return found && single(leafOf(found, [column]));
    };
    return { bytes: child("bytes"), path: child("path") };
  }
  const leaf = single(leafOf(column));
  return holdsBytes(column) ? { bytes: leaf, path: undefined } : { bytes: undefined, path: leaf };
}

/** The only column of bytes or texts in a column, if there is just one. */
function leafOf(column: Column, outer: readonly Column[] = []): Leaf | undefined {
  const way = [...outer, column];
  if (column.children.length === 1) return leafOf(column.children[0]!, way);
  if (column.children.length > 1 || column.element.type !== "BYTE_ARRAY") return undefined;
  const kinds = way.map(({ element }) => element.repetition_type);
  return {
    name: column.path.join(),
    maxDefinition: kinds.filter((kind) => kind !== "REQUIRED").length,
    maxRepetition: kinds.filter((kind) => kind === "REPEATED").length,
  };
}

/** Whether a column is of bytes that are no text, or of objects with such bytes. */
function holdsBytes({ element, children }: Column): boolean {
  const { type, converted_type: converted, logical_type: logical } = element;
  if (children.length > 0) {
    return children.some((child) => child.element.name === "bytes" && holdsBytes(child));
  }
  return type === "BYTE_ARRAY" && converted === undefined && logical === undefined;
}

async function pictureOf(
  picture: Row["picture"],
  folder: string | undefined,
  maxEntryBytes: number,
): Promise<{ picture: string | Uint8Array } | { problem: string }> {
  if (picture instanceof Uint8Array) {
    if (picture.length === 0) return { problem: "the picture is empty" };
    if (picture.length > maxEntryBytes) {
      return { problem: tooLarge(picture.length, maxEntryBytes) };
    }
    // A view would keep the whole row group in memory.
    return { picture: new Uint8Array(picture) };
  }
  if (picture === undefined || picture.trim() === "") return { problem: "no picture" };
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
