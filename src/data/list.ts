import { createReadStream } from "node:fs";
import { extname } from "node:path";
import { Readable } from "node:stream";
import { parse } from "csv-parse";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { CAPTION_COLUMNS, captionsOf, columnName, firstOf } from "./captions.js";
import { decodeText, NOT_UTF8, utf8Bytes } from "./decode-text.js";
import { parseJson } from "./json.js";

/** Extensions of the lists that {@link readList} understands. */
export const LIST_EXTENSIONS = [".csv", ".tsv", ".jsonl"] as const;

/** Accepted names of the column of pictures, in lower case; where there are several, the first wins. */
export const PICTURE_COLUMNS = ["path", "image", "picture", "file", "file_name", "filepath"];

/** A row of a list: what it says, or what is wrong with it. `line` counts from 1. */
export type ListRow =
  | { readonly line: number; readonly picture: string; readonly captions: readonly string[] }
  | { readonly line: number; readonly problem: string };

type Fields =
  | { readonly line: number; readonly fields: ReadonlyMap<string, unknown> }
  | { readonly line: number; readonly problem: string };

/**
 * Reads a list of pictures and captions row by row, without holding the file in memory. It is UTF-8, or
 * UTF-16 with a byte order mark. CSV and TSV need a header; in JSONL each line is an object, whose caption may be an array of captions.
 *
 * @param captionless whether captions, and their column, may be missing
 * @throws ClipsmithError when the list has no column of pictures or none of captions.
 */
export async function* readList(path: string, captionless = false): AsyncGenerator<ListRow> {
  const check = (found: readonly string[]) => checkColumns(path, found, captionless);
  const rows =
    extname(path).toLowerCase() === ".jsonl" ? jsonRows(path, check) : tableRows(path, check);
  for await (const row of rows) {
    if ("problem" in row) {
      yield row;
      continue;
    }
    const { line } = row;
    const picture = firstOf(row.fields, PICTURE_COLUMNS);
    const captions = captionsOf(firstOf(row.fields, CAPTION_COLUMNS));
    if (typeof picture !== "string" || picture.trim() === "") {
      yield { line, problem: "no path of a picture" };
    } else if (captions.length === 0 && !captionless) {
      yield { line, problem: `no caption: ${picture.trim()}` };
    } else {
      yield { line, picture: picture.trim(), captions };
    }
  }
}

/** Throws ClipsmithError where columns of these names are no list. */
type ColumnCheck = (found: readonly string[]) => void;

function checkColumns(path: string, found: readonly string[], captionless: boolean): void {
  for (const [content, names] of [
    ["pictures", PICTURE_COLUMNS],
    ["captions", CAPTION_COLUMNS],
  ] as const) {
    if (content === "captions" && captionless) continue;
    if (!found.some((column) => names.includes(column))) {
      throw missingColumn(path, found, content, names);
    }
  }
}

/** For a list or table without a column of `content`, which would be one of `names`. */
export function missingColumn(
  path: string,
  found: readonly string[],
  content: "pictures" | "captions",
  names: readonly string[],
): ClipsmithError {
  const columns = found.map((column) => JSON.stringify(column.slice(0, 60)));
  const more = columns.length > 20 ? ` and ${columns.length - 20} more` : "";
  return new ClipsmithError(
    `${path} has no column of ${content}: its columns are ${columns.slice(0, 20).join(", ")}${more}. ` +
      `Name one of them ${orList(names)}` +
      (/\.(csv|tsv)$/i.test(path) ? "; the first row must hold the names." : "."),
  );
}

function orList(names: readonly string[]): string {
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

async function* tableRows(path: string, check: ColumnCheck): AsyncGenerator<Fields> {
  const parser = parse({
    // Bytes, a letter each: whether they are UTF-8 is seen row by row.
    encoding: "latin1",
    delimiter: await delimiterOf(path),
    info: true,
    // Mixed line ends are common in files edited on two systems.
    record_delimiter: ["\r\n", "\n", "\r"],
    relax_column_count: true,
    // A quote inside an unquoted caption is part of the caption.
    relax_quotes: true,
    skip_records_with_error: true,
  });
  let failure: string | undefined;
  /** Whether the rest of the table is lost. */
  let isCut = false;
  parser.on("skip", (error: Error & { code?: string }) => {
    isCut = error.code === "CSV_QUOTE_NOT_CLOSED";
    failure = isCut
      ? "malformed row: a quote is opened and not closed again, so nothing after it could be read"
      : `malformed row: ${error.message}`;
  });
  const input = Readable.from(utf8Bytes(createReadStream(path)), { objectMode: false });
  // pipe() does not pass errors on.
  input.on("error", (error) => parser.destroy(error));
  input.pipe(parser);

  let header: string[] | undefined;
  // A row may span lines, and the parser tells the line where it ends.
  let line = 1;
  try {
    for await (const { record, info } of parser as AsyncIterable<{
      record: string[];
      info: { lines: number };
    }>) {
      const start = line;
      line = info.lines + 1;
      if (record.every((cell) => cell.trim() === "")) continue;
      if (header === undefined) {
        header = record.map((cell) => columnName(Buffer.from(cell, "latin1").toString()));
        check(header);
      } else if (record.length === header.length) {
        const cells = record.map(textOf);
        yield cells.includes(undefined)
          ? { line: start, problem: NOT_UTF8 }
          : { line: start, fields: new Map(header.map((name, i) => [name, cells[i]])) };
      } else {
        const problem = `malformed row: it has ${record.length} fields, the header ${header.length}`;
        yield { line: start, problem };
      }
    }
  } finally {
    input.destroy();
  }
  if (failure === undefined) return;
  if (!isCut) yield { line, problem: failure };
  // Each line of the rest counts as a row.
  else
    for await (const lost of lines(path)) {
      if (lost.line >= line) yield { line: lost.line, problem: failure };
    }
}

/** Text out of a cell that has a letter for each byte. */
function textOf(cell: string): string | undefined {
  return /^[ -~\t\r\n]*$/.test(cell) ? cell : decodeText(Buffer.from(cell, "latin1"));
}

/** Tab for .tsv; for .csv whichever of comma, tab and semicolon is most frequent in the header. */
async function delimiterOf(path: string): Promise<string> {
  if (path.toLowerCase().endsWith(".tsv")) return "\t";
  for await (const { bytes } of lines(path)) {
    const text = bytes.toString("latin1");
    const count = (delimiter: string) => text.split(delimiter).length;
    return [",", "\t", ";"].reduce((best, other) => (count(other) > count(best) ? other : best));
  }
  return ",";
}

async function* jsonRows(path: string, check: ColumnCheck): AsyncGenerator<Fields> {
  const columns = new Set<string>();
  for await (const { line, bytes } of lines(path)) {
    const text = decodeText(bytes);
    if (text === undefined) {
      yield { line, problem: NOT_UTF8 };
      continue;
    }
    let value: unknown;
    try {
      value = parseJson(text);
    } catch (error) {
      yield { line, problem: `malformed row: not JSON (${messageOf(error).slice(0, 120)})` };
      continue;
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      yield { line, problem: "malformed row: not a JSON object" };
      continue;
    }
    const entries = Object.entries(value).map(([key, v]) => [columnName(key), v] as const);
    for (const [name] of entries) columns.add(name);
    yield { line, fields: new Map(entries) };
  }
  if (columns.size > 0) check([...columns]);
}

/**
 * The lines of a file that are not blank, as bytes. Node's readline also breaks lines at U+2028 and U+2029,
 * which JSON strings may hold.
 */
async function* lines(path: string): AsyncGenerator<{ line: number; bytes: Buffer }> {
  let line = 0;
  /** Of the line that is not complete yet. */
  let parts: Buffer[] = [];
  const joined = () => {
    const bytes = Buffer.concat(parts);
    parts = [];
    line++;
    return bytes.toString("latin1").trim() === "" ? [] : [{ line, bytes }];
  };
  for await (const chunk of utf8Bytes(createReadStream(path))) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      start = end + 1;
      yield* joined();
    }
    parts.push(chunk.subarray(start));
  }
  yield* joined();
}
