import { open, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { CAPTION_LINES } from "./caption-files.js";
import { type ColumnNames, type ColumnOptions, columnNames } from "./columns.js";
import { stem } from "./folder.js";
import { LIST_EXTENSIONS } from "./list.js";
import { listFolder } from "./list-folder.js";
import { extensionOf, kindOfFile } from "./picture-kinds.js";
import { tableForm } from "./table.js";

/** Lists that describe the folder they lie in; the first of these that is there is read. */
export const FOLDER_LISTS = [
  "metadata.jsonl",
  "metadata.csv",
  "captions.jsonl",
  "captions.csv",
  "captions.tsv",
];

/** COCO's other annotations, which are no captions. */
const NO_CAPTIONS = /^(instances|person_keypoints|stuff|panoptic|image_info|keypoints)_/i;

/** Lists of what is to be measured with. */
const HELD_OUT = /(^|[^a-z])(val|valid|validation|dev|test|testing)([^a-z]|$)/i;

/** How much of a JSON document is looked at. */
const HEAD_BYTES = 2 ** 16;

/** The lists that a folder is read by. */
export interface FolderLists {
  /** Absolute paths. */
  readonly read: readonly string[];
  /** Names of others that were left out, for they are for validation or tests. */
  readonly heldOut: readonly string[];
}

/**
 * The lists of captions among a folder's files: one of {@link FOLDER_LISTS}; or else whatever begins as a list
 * does, but for those of validation and tests where there are others.
 */
export async function listsAmong(
  folder: string,
  files: readonly string[],
  options: ColumnOptions,
): Promise<FolderLists> {
  const usual = FOLDER_LISTS.find((name) => files.includes(name));
  if (usual !== undefined) return { read: [join(folder, usual)], heldOut: [] };
  const pictures = new Set(files.filter((name) => kindOfFile(name) === "picture").map(stem));
  const hasCaptions = files.some(
    (name) => CAPTION_LINES.includes(extensionOf(name)) && pictures.has(stem(name)),
  );
  if (hasCaptions) return { read: [], heldOut: [] };
  const names = columnNames(options);
  const lists: string[] = [];
  for (const name of files) {
    if (!LIST_EXTENSIONS.includes(extname(name).toLowerCase()) || pictures.has(stem(name)))
      continue;
    if (await looksLikeList(join(folder, name), name, names)) lists.push(name);
  }
  const learnt = lists.filter((name) => !HELD_OUT.test(name));
  const read = learnt.length > 0 ? learnt : lists;
  return {
    read: read.map((name) => join(folder, name)),
    heldOut: lists.filter((name) => !read.includes(name)),
  };
}

/** The lists in a collection's folder or, as in COCO's, in a folder of it that has no pictures. */
export async function listsOfCollection(
  root: string,
  files: readonly string[],
  options: ColumnOptions,
): Promise<FolderLists> {
  const own = await listsAmong(root, files, options);
  if (own.read.length > 0 || files.some((name) => kindOfFile(name) === "picture")) return own;
  const { folders } = await listFolder(root);
  for (const name of folders) {
    const folder = join(root, name);
    const inside = await listFolder(folder).catch(() => undefined);
    const isOfPictures = inside?.files.some((file) => kindOfFile(file) === "picture") ?? true;
    // A folder with folders in it may be a collection of its own.
    if (inside === undefined || isOfPictures || inside.folders.length > 0) continue;
    const lists = await listsAmong(folder, inside.files, options);
    if (lists.read.length > 0) return lists;
  }
  return own;
}

async function looksLikeList(path: string, name: string, names: ColumnNames): Promise<boolean> {
  if (NO_CAPTIONS.test(name)) return false;
  try {
    if (/\.(json|jsonl|ndjson)$/i.test(name)) return await looksLikeJsonList(path, name, names);
    const form = await tableForm(path, names);
    if (form === undefined || form.header.length < 2) return false;
    return [names.pictures, names.captions].every((wanted) =>
      form.header.some((column) => wanted.includes(column)),
    );
  } catch {
    return false;
  }
}

async function looksLikeJsonList(path: string, name: string, names: ColumnNames): Promise<boolean> {
  const { size } = await stat(path);
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(size, HEAD_BYTES)));
    const head = buffer.toString("utf8", 0, bytesRead);
    const has = (columns: readonly string[]) =>
      columns.some((column) => head.includes(`"${column}"`));
    // COCO's captions come after all its pictures.
    const isCoco = /captions?/i.test(name) && /"(images|annotations|info|licenses)"\s*:/.test(head);
    return isCoco || (has(names.pictures) && has([...names.captions, "conversations"]));
  } finally {
    await file.close();
  }
}
