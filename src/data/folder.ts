import { readdir, readFile, realpath } from "node:fs/promises";
import { join, parse } from "node:path";
import { messageOf } from "../util/errors.js";
import { shardsAmong, zipsAmong } from "./archive-names.js";
import { CAPTION_EXTENSIONS, CAPTION_LINES, captionsInFile } from "./caption-files.js";
import { FILE_CONCURRENCY, mapConcurrently } from "./concurrent.js";
import { addCaptions, type Found } from "./found.js";
import { type FolderContents, listFolder } from "./list-folder.js";
import { extensionOf, kindOfFile, UNFINISHED_REASON, unreadableReason } from "./picture-kinds.js";
import { holdsPicture } from "./picture-signature.js";

/** Why a picture is left out beside which there is nothing. */
export const NO_CAPTIONS = "no .txt file of captions beside the picture";
export const BROKEN_LINK = "the link leads nowhere";

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
  let contents: FolderContents;
  try {
    const real = await realpath(folder);
    if (found.folders.has(real)) return;
    found.folders.add(real);
    contents = await listFolder(folder);
  } catch (error) {
    const reason = `the folder cannot be read: ${messageOf(error)}`;
    found.skipped.push({ where: folder, reason });
    return;
  }
  await countLitter(folder, contents, found);
  if (await readList(folder, contents.files, found)) return;
  await readPictures(folder, contents, found);
  const { files, folders, broken } = contents;
  // A link that leads nowhere is a shard that cannot be read, and is told as one.
  const shards = shardsAmong([...files, ...broken], folders);
  const names = shards.length > 0 ? shards : zipsAmong([...files, ...broken]);
  if (names.length > 0) found.archives.push({ folder, names });
  for (const name of folders) await readFolder(join(folder, name), found, readList);
}

/** The pictures directly in a folder. */
async function readPictures(
  folder: string,
  { files, folders, broken }: FolderContents,
  found: Found,
): Promise<void> {
  const skip = (name: string, reason: string) =>
    found.skipped.push({ where: join(folder, name), reason });
  const of = (names: readonly string[], kind: ReturnType<typeof kindOfFile>) =>
    names.filter((name) => kindOfFile(name) === kind);
  const unnamed = new Set(await unnamedPictures(folder, files));
  const pictures = [...of(files, "picture"), ...unnamed];
  // A link of captions that leads nowhere cannot be read, which is told with its picture.
  const companions = companionsAmong([...files, ...broken].filter((name) => !unnamed.has(name)));
  const captions = await mapConcurrently(pictures, FILE_CONCURRENCY, (name) =>
    captionsBeside(
      folder,
      name,
      companions.get(stem(name)) ?? [],
      companions.get(whole(name)) ?? [],
    ),
  );
  pictures.forEach((name, i) => {
    const lines = captions[i]!;
    if (typeof lines !== "string") addCaptions(found, join(folder, name), lines);
    else if (found.captionless) addCaptions(found, join(folder, name), []);
    else skip(name, lines);
  });

  const lost = of(broken, "picture");
  for (const name of lost) skip(name, BROKEN_LINK);
  const stems = new Set([...pictures, ...lost].map(stem));
  const unreadable = of(files, "unreadable picture");
  found.unreadable.push(...unreadable, ...of(files, "video"));
  for (const name of unreadable) {
    // A camera's raw file, say, beside the picture that was made of it.
    if (!stems.has(stem(name))) skip(name, unreadableReason(name));
  }
  const unfinished = of(files, "unfinished");
  for (const name of unfinished) skip(name, UNFINISHED_REASON);

  const told = new Set(
    [...pictures, ...lost, ...unreadable, ...of(files, "video"), ...unfinished].flatMap((name) => [
      stem(name),
      whole(name),
    ]),
  );
  const odd = new Map(of(folders, "picture").map((name) => [stem(name), name]));
  for (const name of [...files, ...broken]) {
    const extension = extensionOf(name);
    if (!CAPTION_LINES.includes(extension) || told.has(stem(name))) continue;
    const other = odd.get(stem(name));
    skip(
      name,
      other ? `the picture is a folder: ${other}` : `no picture beside the .${extension} file`,
    );
  }
}

/** Files without an extension that are pictures all the same, as some downloaders name them. */
async function unnamedPictures(folder: string, files: readonly string[]): Promise<string[]> {
  const unnamed = files.filter((name) => extensionOf(name) === "");
  const are = await mapConcurrently(unnamed, FILE_CONCURRENCY, (name) =>
    holdsPicture(join(folder, name)),
  );
  return unnamed.filter((_, i) => are[i]);
}

/** Files that are no pictures, by the stem or the whole name of the picture that they may lie beside. */
function companionsAmong(files: readonly string[]): Map<string, string[]> {
  const companions = new Map<string, string[]>();
  for (const name of files) {
    if (kindOfFile(name) !== "other") continue;
    const known = companions.get(stem(name));
    if (known === undefined) companions.set(stem(name), [name]);
    else known.push(name);
  }
  return companions;
}

/**
 * The captions of a picture, from the files of its stem or else of its whole name (`a.txt`, `a.jpg.txt`), or why
 * there are none.
 */
async function captionsBeside(
  folder: string,
  picture: string,
  ofStem: readonly string[],
  ofName: readonly string[],
): Promise<string[] | string> {
  const companions = [...ofStem, ...ofName];
  const best = companions
    .filter((name) => CAPTION_EXTENSIONS.includes(extensionOf(name)))
    .sort((a, b) => rank(a) - rank(b));
  let problem: string | undefined;
  for (const name of best) {
    const extension = extensionOf(name);
    try {
      const captions = captionsInFile(extension, await readFile(join(folder, name)), picture);
      if (typeof captions === "string") problem = captions;
      else if (captions.length > 0) return captions;
      else problem ??= nothingIn(extension);
    } catch (error) {
      problem = `the .${extension} file of captions cannot be read: ${messageOf(error)}`;
    }
  }
  if (problem !== undefined) return problem;
  if (companions.length === 0) return NO_CAPTIONS;
  const extensions = new Set(companions.map((name) => `.${extensionOf(name)}`));
  return `no captions beside the picture, only ${[...extensions].sort().join(" and ")}`;
}

function rank(name: string): number {
  return CAPTION_EXTENSIONS.indexOf(extensionOf(name));
}

function nothingIn(extension: string): string {
  if (extension === "json") return "no caption in the .json file beside the picture";
  if (extension === "cls") return "no caption in the .cls file beside the picture";
  return `the .${extension} file of captions is empty`;
}

/** Counts the pictures in a folder that are hidden, or lie in a system's folders. */
async function countLitter(
  folder: string,
  { litter }: FolderContents,
  { litter: count }: Found,
): Promise<void> {
  const isPicture = (name: string) => kindOfFile(name) === "picture";
  for (const name of litter.files) count.add(name, isPicture(name) ? 1 : 0, false);
  for (const name of litter.folders) {
    // Others' trash is often closed to us.
    const options = { recursive: true, withFileTypes: true } as const;
    const inside = await readdir(join(folder, name), options).catch(() => []);
    const pictures = inside.filter((entry) => entry.isFile() && isPicture(entry.name));
    count.add(name, pictures.length, true);
  }
}

/** The base name under which a picture and its captions find each other. */
export function stem(name: string): string {
  return parse(name).name.normalize("NFC");
}

function whole(name: string): string {
  return name.normalize("NFC");
}
