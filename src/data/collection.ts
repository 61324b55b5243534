import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, extname, join, parse, resolve } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { CAPTION_COLUMNS, captionLines, isAddress, isCaption } from "./captions.js";
import { mapConcurrently } from "./concurrent.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { LIST_EXTENSIONS, PICTURE_COLUMNS, readList } from "./list.js";
import type { Sample, Skipped } from "./sample.js";

/** Extensions of the pictures looked for in folders and archives, in lower case. */
export const PICTURE_EXTENSIONS = "jpg jpeg png webp gif avif tiff tif svg".split(" ");

/** Lists that describe the folder they lie in; the first of these that is there is read. */
export const FOLDER_LISTS = [
  "metadata.jsonl",
  "metadata.csv",
  "captions.jsonl",
  "captions.csv",
  "captions.tsv",
];

const NO_CAPTIONS = "no .txt file of captions beside the picture";
const BROKEN_LINK = "the link leads nowhere";

/** File operations under way at once. */
const FILE_CONCURRENCY = 32;

/** What has been gathered so far. */
interface Found {
  /** Captions by the picture's absolute path. */
  readonly captions: Map<string, string[]>;
  /** `list:line` of the rows that name a picture whose existence is still to be checked. */
  readonly rows: Map<string, string[]>;
  /** A reason is a kind, or `kind: detail`; kinds are what {@link noSample} counts. */
  readonly skipped: Skipped[];
  /** How the collection was understood, in sentences. */
  readonly notes: string[];
  /** Real paths of the folders read, so that links in a circle end. */
  readonly folders: Set<string>;
  /** Whether pictures count without captions. */
  readonly captionless: boolean;
}

/**
 * Reads a collection of captioned pictures. `source` is one of
 * - a folder, searched with its subfolders for pictures (jpg, jpeg, png, webp, gif, avif, tiff, tif,
 *   svg), each with a `.txt` file of the same base name beside it, whose non-empty lines are captions, in UTF-8 or
 *   in UTF-16 with a byte order mark.
 *   A folder with a list named metadata.jsonl, metadata.csv (Hugging Face's imagefolder),
 *   captions.jsonl, captions.csv or captions.tsv is read by that list instead. Names that start with
 *   a dot are passed over. Where no picture has captions and all lie in subfolders, two or more, a
 *   picture's caption is the name of its folder, as in `cats/1.jpg`, underscores being spaces;
 * - a `.csv`, `.tsv` or `.jsonl` list with a column of pictures (path, image, picture, file, file_name
 *   or filepath; relative to the list's folder) and one of captions (caption, captions, text, title or
 *   description). CSV and TSV need a header. Rows of one picture become one sample.
 *
 * With `captions: "optional"`, pictures count even if they have no caption; their samples then have none,
 * and a list needs no column of them.
 *
 * Samples are sorted by path. What cannot be used is left out and named in `skipped`; `notes` are sentences
 * that tell the user how the collection was understood. Pictures are not decoded here.
 *
 * @throws ClipsmithError when the source cannot be read, a list's columns are not understood, or no
 * sample is left.
 */
export async function readCollection(
  source: string,
  { captions = "required" }: { readonly captions?: "required" | "optional" } = {},
): Promise<{ samples: Sample[]; skipped: Skipped[]; notes: string[] }> {
  const root = resolve(source);
  const found: Found = {
    captions: new Map(),
    rows: new Map(),
    skipped: [],
    notes: [],
    folders: new Set(),
    captionless: captions === "optional",
  };
  const kind = await stat(root).catch((error: NodeJS.ErrnoException) => {
    throw new ClipsmithError(
      error.code === "ENOENT"
        ? `${root} does not exist. Give the path of a folder of pictures, of a list of them, or of tar or ` +
            "Parquet files; where braces name several, all must be there."
        : `Cannot read ${root}: ${error.message}`,
    );
  });
  if (kind.isDirectory()) {
    await readFolder(root, found);
  } else if ((LIST_EXTENSIONS as readonly string[]).includes(extname(root).toLowerCase())) {
    await addList(root, found);
  } else {
    throw new ClipsmithError(
      `${root} is no collection of pictures. Give a folder, or a list that ends in ${LIST_EXTENSIONS.join(", ")}.`,
    );
  }
  let samples = await existing(found);
  if (samples.length === 0 && captions === "required") {
    samples = labelled(root, found);
  }
  if (samples.length === 0) throw noSample(root, found);
  samples.sort((a, b) => compare(a.picture, b.picture));
  return { samples, skipped: found.skipped, notes: found.notes };
}

/** Order by UTF-16 code units: the same on every machine, unlike an order by locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function addCaptions(found: Found, picture: string, captions: readonly string[]): void {
  const known = found.captions.get(picture);
  if (known === undefined) found.captions.set(picture, [...captions]);
  else known.push(...captions);
}

async function addList(list: string, found: Found): Promise<void> {
  const folder = dirname(list);
  try {
    for await (const row of readList(list, found.captionless)) {
      const where = `${list}:${row.line}`;
      if ("problem" in row) {
        found.skipped.push({ where, reason: row.problem });
      } else if (isAddress(row.picture)) {
        const reason = `the picture is a web address, download it first: ${row.picture}`;
        found.skipped.push({ where, reason });
      } else {
        const picture = resolve(folder, row.picture);
        addCaptions(found, picture, row.captions);
        const rows = found.rows.get(picture);
        if (rows === undefined) found.rows.set(picture, [where]);
        else rows.push(where);
      }
    }
  } catch (error) {
    if (error instanceof ClipsmithError) throw error;
    throw new ClipsmithError(`Cannot read ${list}: ${messageOf(error)}`, { cause: error });
  }
}

/** The samples whose pictures exist; those of folders are known to, those of lists are looked up. */
async function existing(found: Found): Promise<Sample[]> {
  const samples = await mapConcurrently(
    [...found.captions],
    FILE_CONCURRENCY,
    async ([picture, captions]) => {
      const file = found.rows.has(picture) ? await findFile(picture) : picture;
      return { picture, file, captions };
    },
  );
  return samples.flatMap(({ picture, file, captions }) => {
    if (file !== undefined) return [{ picture: file, captions }];
    const reason = `the picture does not exist: ${picture}`;
    for (const where of found.rows.get(picture)!) found.skipped.push({ where, reason });
    return [];
  });
}

/** The file at `path`, however its name's accented letters are composed: systems differ in that. */
export async function findFile(path: string): Promise<string | undefined> {
  for (const candidate of new Set([path, path.normalize("NFC"), path.normalize("NFD")])) {
    const kind = await stat(candidate).catch(() => undefined);
    if (kind?.isFile()) return candidate;
  }
  return undefined;
}

/** The pictures with their folders' names, if nothing but captions is missing and the names differ. */
function labelled(root: string, { skipped, notes }: Found): Sample[] {
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

async function readFolder(folder: string, found: Found): Promise<void> {
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
  const list = FOLDER_LISTS.find((name) => files.includes(name));
  if (list !== undefined) return addList(join(folder, list), found);

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

  for (const name of folders) await readFolder(join(folder, name), found);
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

function noSample(root: string, { skipped, captionless }: Found): ClipsmithError {
  const kinds = new Map<string, string[]>();
  for (const { where, reason } of skipped) {
    const kind = reason.split(": ", 1)[0]!;
    const places = kinds.get(kind);
    if (places === undefined) kinds.set(kind, [where]);
    else places.push(where);
  }
  const summary = [...kinds].map(([kind, places]) => {
    const examples = places.slice(0, 3).map((place) => basename(place));
    const more = places.length > 3 ? ", ..." : "";
    return `\n  ${places.length} times: ${kind} (${examples.join(", ")}${more})`;
  });
  if (captionless) return new ClipsmithError(`${root} holds no picture.${summary.join("")}`);
  return new ClipsmithError(
    `${root} holds no picture with a caption.${summary.join("")}\n` +
      "Put a .txt file of the same name beside each picture, one caption a line; or put the pictures of " +
      "each kind into a folder of its own, whose name is their caption; or list them in a " +
      `${LIST_EXTENSIONS.join(", ")} file with a column of pictures (${PICTURE_COLUMNS.join(", ")}) ` +
      `and one of captions (${CAPTION_COLUMNS.join(", ")}).`,
  );
}
