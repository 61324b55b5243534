import { stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { CAPTION_COLUMNS, isAddress } from "./captions.js";
import { compare } from "./compare.js";
import { FILE_CONCURRENCY, mapConcurrently } from "./concurrent.js";
import { readFolder } from "./folder.js";
import { labelled } from "./folder-labels.js";
import { addCaptions, type Found } from "./found.js";
import { LIST_EXTENSIONS, PICTURE_COLUMNS, readList } from "./list.js";
import { LitterCount } from "./litter.js";
import { unreadableNote } from "./picture-kinds.js";
import type { Sample, Skipped } from "./sample.js";
import { leftOutArchives, OnlyArchives } from "./shards-below.js";
import { standInAt } from "./stand-in-at.js";

/** Lists that describe the folder they lie in; the first of these that is there is read. */
export const FOLDER_LISTS = [
  "metadata.jsonl",
  "metadata.csv",
  "captions.jsonl",
  "captions.csv",
  "captions.tsv",
];

/**
 * Reads a collection of captioned pictures. `source` is one of
 * - a folder, searched with its subfolders for pictures of {@link PICTURE_EXTENSIONS}, each with a file of
 *   {@link CAPTION_EXTENSIONS} and the same base name beside it, such as a `.txt` whose non-empty lines are captions,
 *   in UTF-8 or in UTF-16 with a byte order mark.
 *   A folder with a list named metadata.jsonl, metadata.csv (Hugging Face's imagefolder),
 *   captions.jsonl, captions.csv or captions.tsv is read by that list instead. Names that start with
 *   a dot are passed over, and what systems leave behind. Where nothing lies beside the pictures and all are in
 *   subfolders, two or more, a picture's caption is the name of its folder, as in `cats/1.jpg`, underscores being
 *   spaces;
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
 * @throws OnlyArchives for a folder with tar or Parquet files in place of pictures
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
    archives: [],
    unreadable: [],
    litter: new LitterCount(),
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
    await readFolder(root, found, readFolderList);
  } else if ((LIST_EXTENSIONS as readonly string[]).includes(extname(root).toLowerCase())) {
    await addList(root, found);
  } else {
    throw new ClipsmithError(
      `${root} is no collection of pictures. Give a folder, or a list that ends in ${LIST_EXTENSIONS.join(", ")}.`,
    );
  }
  let samples = await existing(found);
  if (samples.length === 0 && found.archives.length > 0) {
    throw new OnlyArchives(root, found.archives);
  }
  if (samples.length === 0 && captions === "required") {
    samples = labelled(root, found);
  }
  addNotes(root, found);
  if (samples.length === 0) throw noSample(root, found);
  samples.sort((a, b) => compare(a.picture, b.picture));
  return { samples, skipped: found.skipped, notes: found.notes };
}

/** Tells of what was left out by rule. */
function addNotes(root: string, { notes, litter, unreadable, archives }: Found): void {
  if (litter.summary !== undefined) notes.push(`Left out ${litter.summary}.`);
  if (unreadable.length > 0) notes.push(unreadableNote(unreadable));
  const left = leftOutArchives(root, archives);
  if (left !== undefined) notes.push(left);
}

/** Reads a folder by the list in it, if there is one. */
async function readFolderList(
  folder: string,
  files: readonly string[],
  found: Found,
): Promise<boolean> {
  const list = FOLDER_LISTS.find((name) => files.includes(name));
  if (list !== undefined) await addList(join(folder, list), found);
  return list !== undefined;
}

async function addList(list: string, found: Found): Promise<void> {
  const folder = dirname(list);
  try {
    const standIn = await standInAt(list);
    if (standIn !== undefined) throw new ClipsmithError(`${list} is ${standIn}.`);
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

function noSample(root: string, { skipped, notes, captionless }: Found): ClipsmithError {
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
  for (const note of notes) summary.push(`\n  ${note}`);
  if (captionless) return new ClipsmithError(`${root} holds no picture.${summary.join("")}`);
  return new ClipsmithError(
    `${root} holds no picture with a caption.${summary.join("")}\n` +
      "Put a .txt file of the same name beside each picture, one caption a line; or put the pictures of " +
      "each kind into a folder of its own, whose name is their caption; or list them in a " +
      `${LIST_EXTENSIONS.join(", ")} file with a column of pictures (${PICTURE_COLUMNS.join(", ")}) ` +
      `and one of captions (${CAPTION_COLUMNS.join(", ")}).`,
  );
}
