import { extname } from "node:path";
import { type ColumnOptions, captionsIn, checkColumns, columnNames, pictureIn } from "./columns.js";
import { jsonLinesRows, jsonRows } from "./json-list.js";
import { type Fields, tableForm, tableRows } from "./table.js";

/** Extensions of the lists that {@link readList} understands. */
export const LIST_EXTENSIONS = [".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt", ".token"];

/** A row of a list: what it says, or what is wrong with it. `line` counts from 1. */
export type ListRow =
  | { readonly line: number; readonly picture: string; readonly captions: readonly string[] }
  | { readonly line: number; readonly problem: string };

/** How a list was understood. */
export interface ListColumns {
  /** The column of pictures; undefined where the list has no names of columns. */
  readonly pictures?: string;
  readonly captions?: string;
  /** Of a table. */
  readonly separator?: string;
}

export interface ListOptions extends ColumnOptions {
  /** Whether captions, and their column, may be missing. Default false. */
  readonly captionless?: boolean;
  /** Is told how the list was understood when all of it is read. */
  readonly onRead?: (columns: ListColumns) => void;
}

/**
 * Reads a list of pictures and captions row by row: CSV with any usual separator, JSON Lines, or a JSON document
 * as {@link jsonRows} takes it; only the last is held in memory. It is UTF-8, or UTF-16 with a byte order mark. A
 * table needs a header, unless each row is a picture and its caption. A caption in JSON may be an array of
 * captions.
 *
 * @throws ClipsmithError when the list has no column of pictures or none of captions.
 */
export async function* readList(
  path: string,
  { captionless = false, onRead, ...options }: ListOptions = {},
): AsyncGenerator<ListRow> {
  const names = columnNames(options);
  const extension = extname(path).toLowerCase();
  const isTable = !/^\.(jsonl|ndjson|json)$/.test(extension);
  const form = isTable ? await tableForm(path, names) : undefined;
  if (isTable && form === undefined) return;
  if (form) checkColumns(path, form.header, names, captionless);
  const rows: AsyncIterable<Fields> = form
    ? tableRows(path, form)
    : extension === ".json"
      ? jsonRows(path)
      : jsonLinesRows(path);

  const seen = new Set<string>();
  const used: { pictures?: string; captions?: string } = {};
  for await (const row of rows) {
    if ("problem" in row) {
      yield row;
      continue;
    }
    const { line, fields } = row;
    if (!form) for (const name of fields.keys()) seen.add(name);
    const found = pictureIn(fields, names.pictures);
    const told = captionsIn(fields, names.captions);
    if (found) used.pictures ??= found.column;
    if (told) used.captions ??= told.column;
    const captions = told?.captions ?? [];
    if (found === undefined) {
      yield { line, problem: "no path of a picture" };
    } else if (captions.length === 0 && !captionless) {
      yield { line, problem: `no caption: ${found.picture}` };
    } else {
      yield { line, picture: found.picture, captions };
    }
  }
  if (seen.size > 0) checkColumns(path, [...seen], names, captionless);
  onRead?.({
    ...(form?.hasHeader !== false && used),
    ...(form && { separator: form.separator }),
  });
}
