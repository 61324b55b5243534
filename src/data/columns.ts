import { ClipsmithError } from "../util/errors.js";
import { CAPTION_COLUMNS, captionsOf, columnName, isAddress } from "./captions.js";

/** Accepted names of the column of pictures, as {@link columnName} writes them; the first that is there wins. */
export const PICTURE_COLUMNS = [
  "path",
  "image",
  "picture",
  "file",
  "file_name",
  "filename",
  "filepath",
  "file_path",
  "image_path",
  "image_name",
  "image_file",
  "image_filename",
  "image_file_name",
  "imagepath",
  "imagename",
  "img",
  "img_path",
  "img_name",
  "img_file",
  "picture_path",
  "photo",
  "photo_path",
  "image_id",
  "img_id",
  "imageid",
  "imgid",
  "id",
];

/** Columns whose values name pictures by number. */
const IDS = /id$/;

/** Of {@link PICTURE_COLUMNS} those that hold paths, and not numbers. */
export const PATH_COLUMNS = PICTURE_COLUMNS.filter((name) => !IDS.test(name));

/** Which columns to read, where their names are no usual ones. */
export interface ColumnOptions {
  /** The column of pictures. */
  readonly pictureColumn?: string | undefined;
  /** The column of captions. */
  readonly captionColumn?: string | undefined;
}

/** Names of columns to look for, best first. */
export interface ColumnNames {
  readonly pictures: readonly string[];
  readonly captions: readonly string[];
}

export function columnNames({ pictureColumn, captionColumn }: ColumnOptions): ColumnNames {
  return {
    pictures: pictureColumn === undefined ? PICTURE_COLUMNS : [columnName(pictureColumn)],
    captions: captionColumn === undefined ? CAPTION_COLUMNS : [columnName(captionColumn)],
  };
}

/** The picture that a row names, and in which column: a file rather than an address. */
export function pictureIn(
  fields: ReadonlyMap<string, unknown>,
  names: readonly string[],
): { readonly column: string; readonly picture: string } | undefined {
  let address: { column: string; picture: string } | undefined;
  for (const column of names) {
    const value = fields.get(column);
    const text =
      typeof value === "string" ? value.trim() : typeof value === "number" ? `${value}` : "";
    if (text === "" || (typeof value === "number" && names.length > 1 && !IDS.test(column))) {
      continue;
    }
    if (!isAddress(text) || text.startsWith("file:")) return { column, picture: text };
    address ??= { column, picture: text };
  }
  return address;
}

/** The captions of a row: of the first column of captions that it has, or of a conversation about its picture. */
export function captionsIn(
  fields: ReadonlyMap<string, unknown>,
  names: readonly string[],
): { readonly column: string; readonly captions: readonly string[] } | undefined {
  const column = names.find((name) => fields.has(name));
  if (column !== undefined) return { column, captions: captionsOf(textsOf(fields.get(column))) };
  const answers = fields.get("conversations");
  return Array.isArray(answers)
    ? { column: "conversations", captions: captionsOf(answers.flatMap(answerOf)) }
    : undefined;
}

/** A caption may be an object with the text in it, as in Karpathy's splits. */
function textsOf(value: unknown): unknown {
  return [value].flat().map((one: unknown) => {
    if (typeof one !== "object" || one === null) return one;
    const { raw, caption, text } = one as Record<string, unknown>;
    return raw ?? caption ?? text;
  });
}

/** What the model says in a turn of LLaVA's conversations. */
function answerOf(turn: unknown): unknown[] {
  if (typeof turn !== "object" || turn === null) return [];
  const { from, value } = turn as Record<string, unknown>;
  return from === "gpt" ? [value] : [];
}

/**
 * Throws where columns of these names are no list.
 *
 * @throws ClipsmithError that says which columns there are
 */
export function checkColumns(
  path: string,
  found: readonly string[],
  names: ColumnNames,
  captionless: boolean,
): void {
  for (const content of ["pictures", "captions"] as const) {
    if (content === "captions" && (captionless || found.includes("conversations"))) continue;
    if (!found.some((column) => names[content].includes(column))) {
      throw missingColumn(path, found, content, names[content]);
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
  const option = content === "pictures" ? "--picture-column" : "--caption-column";
  return new ClipsmithError(
    `${path} has no column of ${content}: its columns are ${columns.slice(0, 20).join(", ")}${more}. ` +
      (names.length === 1
        ? `There is no "${names[0]}" among them.`
        : `Say which one it is by ${option}, or name it ${orList(names.slice(0, 6))}`) +
      (/\.(csv|tsv|txt)$/i.test(path) ? "; the first row must hold the names." : "."),
  );
}

function orList(names: readonly string[]): string {
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}
