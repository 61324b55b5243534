import { parse } from "csv-parse/sync";
import { columnName, isAddress } from "./captions.js";
import type { ColumnNames } from "./columns.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { type Line, linesOf } from "./lines.js";
import { extensionOf, kindOfFile } from "./picture-kinds.js";

/** A row of a list by its columns, or what is wrong with it. */
export type Fields =
  | { readonly line: number; readonly fields: ReadonlyMap<string, unknown> }
  | { readonly line: number; readonly problem: string };

/** How a table is written. */
export interface TableForm {
  /** Names of its columns, as {@link columnName} writes them. */
  readonly header: readonly string[];
  readonly separator: string;
  /** Whether its first row names the columns. */
  readonly hasHeader: boolean;
  /** The line that the rows begin after. */
  readonly after: number;
}

const SEPARATORS = [",", "\t", ";", "|"];

/** Lines that a quoted field may span at most. */
const MOST_LINES = 1000;

/** How the table in a file is written; undefined if it has no row. */
export async function tableForm(path: string, names: ColumnNames): Promise<TableForm | undefined> {
  let separator: string | undefined;
  for await (const { line, bytes } of linesOf(path)) {
    const text = decodeText(bytes) ?? bytes.toString("latin1");
    // A hint for Excel.
    const hint = /^\ufeff?"?sep=(.)"?\s*$/i.exec(text)?.[1];
    if (hint !== undefined && separator === undefined) {
      separator = hint;
      continue;
    }
    const head = text.replace(/^\ufeff/, "");
    separator ??= separatorOf(head, path, names);
    const cells = literal(head, separator);
    const header = cells.map(columnName);
    return isHeaderless(cells, header, names)
      ? { header: ["image", "caption"], separator, hasHeader: false, after: line - 1 }
      : { header, separator, hasHeader: true, after: line };
  }
  return undefined;
}

/** The separator by which the first line names known columns, or else the most frequent. */
function separatorOf(head: string, path: string, names: ColumnNames): string {
  if (/\.tsv$/i.test(path) && head.includes("\t")) return "\t";
  const known = (separator: string) => {
    const columns = literal(head, separator).map(columnName);
    return [names.pictures, names.captions].filter((wanted) =>
      columns.some((column) => wanted.includes(column)),
    ).length;
  };
  const count = (separator: string) => head.split(separator).length;
  return SEPARATORS.reduce((best, other) =>
    known(other) > known(best) || (known(other) === known(best) && count(other) > count(best))
      ? other
      : best,
  );
}

/** Whether a table begins with a picture and its caption, as Flickr8k.token.txt does. */
function isHeaderless(
  cells: readonly string[],
  header: readonly string[],
  names: ColumnNames,
): boolean {
  if (cells.length !== 2 || header.some((column) => names.captions.includes(column))) return false;
  return kindOfFile(withoutNumber(cells[0]!)) === "picture" && extensionOf(cells[1]!) === "";
}

/** Flickr's names of captions: `1000268201_693b08cb0e.jpg#0`. */
function withoutNumber(name: string): string {
  return name.trim().replace(/#\d+$/, "");
}

/**
 * The rows of a table. A quoted field may span lines. A quote that is opened and not closed within its row is
 * taken as a letter of the caption, so that no row is lost by it. Of a list of pictures and captions alone, what
 * has more commas than the header is a caption with commas in it.
 */
export async function* tableRows(path: string, form: TableForm): AsyncGenerator<Fields> {
  const { header, separator, hasHeader, after } = form;
  const ahead: Line[] = [];
  const lines = linesOf(path);
  const next = async (): Promise<Line | undefined> => {
    const { value, done } = await lines.next();
    return done ? undefined : value;
  };
  for (;;) {
    const first = ahead.shift() ?? (await next());
    if (first === undefined) return;
    if (first.line <= after) continue;
    let { cells, isOpen } = cellsOf(textOf(first.bytes), separator);
    if (isOpen) {
      const joined = await closed(first, ahead, next, separator, header.length);
      if (joined === undefined) cells = literal(textOf(first.bytes), separator);
      else {
        cells = joined.cells;
        ahead.splice(0, joined.lines);
      }
    }
    if (cells.every((cell) => cell.trim() === "")) continue;
    if (cells.length > header.length && header.length === 2 && !isAddress(cells[1]!)) {
      cells = [cells[0]!, cells.slice(1).join(separator)];
    }
    yield rowOf(first.line, cells, header, hasHeader);
  }
}

function rowOf(
  line: number,
  cells: readonly string[],
  header: readonly string[],
  hasHeader: boolean,
): Fields {
  if (cells.length !== header.length) {
    const problem = `malformed row: it has ${cells.length} fields, the header ${header.length}`;
    const advice =
      cells.length > header.length ? "; a field with a separator in it needs quotes" : "";
    return { line, problem: problem + advice };
  }
  const values = cells.map((cell) => decodeText(Buffer.from(cell, "latin1")));
  if (values.includes(undefined)) return { line, problem: NOT_UTF8 };
  if (!hasHeader) values[0] = withoutNumber(values[0]!);
  return { line, fields: new Map(header.map((name, i) => [name, values[i]])) };
}

/** A line with a letter for each byte: whether they are UTF-8 is seen row by row. */
function textOf(bytes: Buffer): string {
  return bytes.toString("latin1");
}

/** The fields of a row; those of one whose last quote is not closed are not known. */
function cellsOf(text: string, separator: string): { cells: string[]; isOpen: boolean } {
  if (!text.includes('"')) return { cells: text.split(separator), isOpen: false };
  try {
    const [cells = []] = parse(text, {
      delimiter: separator,
      relax_column_count: true,
      // A quote inside an unquoted caption is part of the caption.
      relax_quotes: true,
      record_delimiter: "\0",
    }) as string[][];
    return { cells, isOpen: false };
  } catch {
    return { cells: [], isOpen: true };
  }
}

/** The fields of a line with all its quotes as they stand. */
function literal(text: string, separator: string): string[] {
  return text.split(separator).map((cell) => {
    const quoted = /^\s*"((?:[^"]|"")*)"\s*$/.exec(cell);
    return quoted === null ? cell : quoted[1]!.replaceAll('""', '"');
  });
}

/** The row that begins with `first` and ends lines later; undefined where its quote is a stray one. */
async function closed(
  first: Line,
  ahead: Line[],
  next: () => Promise<Line | undefined>,
  separator: string,
  columns: number,
): Promise<{ readonly cells: string[]; readonly lines: number } | undefined> {
  let text = textOf(first.bytes);
  let last = first.line;
  // Lines that are rows of their own were not meant to be swallowed.
  let rows = 0;
  for (let count = 0; count < MOST_LINES; count++) {
    if (count === ahead.length) {
      const line = await next();
      if (line === undefined) return undefined;
      ahead.push(line);
    }
    const { line, bytes } = ahead[count]!;
    const added = textOf(bytes);
    text += "\n".repeat(line - last) + added;
    last = line;
    if (added.split(separator).length === columns) rows++;
    // Only a quote can close one.
    if (!added.includes('"')) continue;
    const { cells, isOpen } = cellsOf(text, separator);
    if (isOpen) continue;
    const swallowed = columns > 1 && rows === count + 1;
    return cells.length === columns && !swallowed ? { cells, lines: count + 1 } : undefined;
  }
  return undefined;
}
