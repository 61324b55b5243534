import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, extname, join, parse } from "node:path";
import { messageOf } from "../util/errors.js";
import { captionLines, isCaption } from "./captions.js";
import { FILE_CONCURRENCY, mapConcurrently } from "./concurrent.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { addCaptions, type Found } from "./found.js";
import { PICTURE_EXTENSIONS } from "./picture-kinds.js";
import type { Sample } from "./sample.js";

const NO_CAPTIONS = "no .txt file of captions beside the picture";
const BROKEN_LINK = "the link leads nowhere";

/** Reads a folder by a list among its files; false where there is none. */
export type ReadFolderList = (
  folder: string,
  files: readonly string[],
  found: Found,
) => Promise<boolean>;

/** Gathers the pictures of a folder and of those in it, each with the captions beside it. */
export async function readFolder(
  folder: string,
  found: Found,
  readList: ReadFolderList,
): Promise<void> {
  let files: string[];
  let folders: string[];
  let broken: string[];
  try {
    const real = await realpath(folder);
    if (found.folders.has(real)) return;
    found.folders.add(real);
    ({ files, folders, broken } = await listFolder(folder));
  } catch (error) {
    const reason = `the folder cannot be read: ${messageOf(error)}`;
    found.skipped.push({ where: folder, reason });
    return;
  }
  if (await readList(folder, files, found)) return;

  const captionFiles = new Map<string, string>();
  // A link of captions that leads nowhere cannot be read, which is told with its picture.
  for (const name of [...files, ...broken]) {
    if (extname(name).toLowerCase() === ".txt") captionFiles.set(stem(name), name);
  }
  const isPicture = (name: string) =>
    PICTURE_EXTENSIONS.includes(extname(name).slice(1).toLowerCase());
  const pictures = files.filter(isPicture);
  const skip = (name: string, reason: string) =>
    found.skipped.push({ where: join(folder, name), reason });
  const captions = await mapConcurrently(pictures, FILE_CONCURRENCY, async (name) => {
    const file = captionFiles.get(stem(name));
    if (file === undefined) {
      return found.captionless ? [] : NO_CAPTIONS;
    }
    try {
      const text = decodeText(await readFile(join(folder, file)));
      if (text === undefined) return found.captionless ? [] : NOT_UTF8;
      const kept = captionLines(text);
      return kept.length > 0 || found.captionless ? kept : "the .txt file of captions is empty";
    } catch (error) {
      return `the .txt file of captions cannot be read: ${messageOf(error)}`;
    }
  });
  pictures.forEach((name, i) => {
    const lines = captions[i]!;
    if (typeof lines === "string") skip(name, lines);
    else addCaptions(found, join(folder, name), lines);
  });
  const lost = broken.filter(isPicture);
  for (const name of lost) skip(name, BROKEN_LINK);
  const stems = new Set([...pictures, ...lost].map(stem));
  const odd = new Map(folders.filter(isPicture).map((name) => [stem(name), name]));
  for (const [name, file] of captionFiles) {
    if (stems.has(name)) continue;
    const other = odd.get(name);
    skip(file, other ? `the picture is a folder: ${other}` : "no picture beside the .txt file");
  }

  for (const name of folders) await readFolder(join(folder, name), found, readList);
}

/** The base name under which a picture and its captions find each other. */
function stem(name: string): string {
  return parse(name).name.normalize("NFC");
}

/**
 * Names of the files and folders in `folder`, links followed, and of links that lead nowhere; sorted, hidden
 * ones left out.
 */
export async function listFolder(
  folder: string,
): Promise<{ files: string[]; folders: string[]; broken: string[] }> {
  const files: string[] = [];
  const folders: string[] = [];
  const broken: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) continue;
    const kind = entry.isSymbolicLink()
      ? await stat(join(folder, entry.name)).catch(() => undefined)
      : entry;
    if (kind === undefined) broken.push(entry.name);
    else if (kind.isFile()) files.push(entry.name);
    else if (kind.isDirectory()) folders.push(entry.name);
  }
  return {
    files: files.sort(compare),
    folders: folders.sort(compare),
    broken: broken.sort(compare),
  };
}

/** The pictures with their folders' names, if nothing but captions is missing and the names differ. */
export function labelled(root: string, { skipped, notes }: Found): Sample[] {
  const broken = skipped.filter(({ reason }) => reason === BROKEN_LINK);
  const bare = skipped.filter(({ reason }) => reason === NO_CAPTIONS);
  const folders = new Set(bare.map(({ where }) => dirname(where)));
  if (bare.length + broken.length < skipped.length || folders.size < 2 || folders.has(root)) {
    return [];
  }
  skipped.splice(0, skipped.length, ...broken);
  notes.push(
    "No picture has captions of its own: the names of the pictures' folders are their captions.",
  );
  return bare.map(({ where }) => {
    const label = basename(dirname(where)).normalize("NFC").replaceAll("_", " ").trim();
    return { picture: where, captions: [isCaption(label) ? label : basename(dirname(where))] };
  });
}

/** Order by UTF-16 code units: the same on every machine, unlike an order by locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
