import { stat } from "node:fs/promises";
import { basename, dirname, extname, resolve } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { isAddress } from "./captions.js";
import type { ColumnOptions } from "./columns.js";
import { compare } from "./compare.js";
import { FILE_CONCURRENCY, mapConcurrently } from "./concurrent.js";
import { type ReadFolderList, readFolder } from "./folder.js";
import { labelled } from "./folder-labels.js";
import { listsAmong, listsOfCollection } from "./folder-lists.js";
import { addCaptions, type Found } from "./found.js";
import { LIST_EXTENSIONS, type ListColumns, readList } from "./list.js";
import { takeUnnamed, tellLists } from "./list-notes.js";
import { LitterCount } from "./litter.js";
import { findFile, PictureFinder } from "./picture-finder.js";
import { unreadableNote } from "./picture-kinds.js";
import type { Sample, Skipped } from "./sample.js";
import { leftOutArchives, OnlyArchives } from "./shards-below.js";
import { standInAt } from "./stand-in-at.js";

/** How a collection is read. */
export interface CollectionOptions extends ColumnOptions {
  /** What becomes of a picture without captions: left out ("required", the default), or a sample with none. */
  readonly captions?: "required" | "optional";
}

/**
 * Reads a collection of captioned pictures. `source` is one of
 * - a folder, searched with its subfolders for pictures of {@link PICTURE_EXTENSIONS}, each with a file of
 *   {@link CAPTION_EXTENSIONS} and the same base name beside it, such as a `.txt` whose non-empty lines are captions,
 *   in UTF-8 or in UTF-16 with a byte order mark.
 *   A folder with a list of captions in it, or in a folder of it without pictures, is read by that list instead
 *   (see {@link listsOfCollection}). Names that start with a dot are passed over, and what systems leave behind.
 *   Where nothing lies beside the pictures and all are in subfolders, two or more, a picture's caption is the name
 *   of its folder, as in `cats/1.jpg`, underscores being spaces;
 * - a list of {@link LIST_EXTENSIONS}, with a column of pictures, found by {@link PictureFinder}, and one of
 *   captions. Rows of one picture become one sample.
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
  { captions = "required", ...columns }: CollectionOptions = {},
): Promise<{ samples: Sample[]; skipped: Skipped[]; notes: string[] }> {
  const root = resolve(source);
  const found: Found = {
    captions: new Map(),
    rows: new Map(),
    lists: [],
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
    await readFolder(root, found, folderListReader(root, columns));
  } else if (LIST_EXTENSIONS.includes(extname(root).toLowerCase())) {
    await addList(root, found, columns, new PictureFinder(dirname(root)));
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
  const isFolder = kind.isDirectory();
  tellLists(isFolder ? root : dirname(root), found, samples);
  if (isFolder) await takeUnnamed(found, samples);
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

/** Reads a folder by the lists in it, if there are any. */
function folderListReader(root: string, options: ColumnOptions): ReadFolderList {
  return async (folder, files, found) => {
    const isRoot = folder === root;
    const { read, heldOut } = await (isRoot ? listsOfCollection : listsAmong)(
      folder,
      files,
      options,
    );
    if (read.length === 0) return false;
    const finder = new PictureFinder(folder);
    for (const list of read) await addList(list, found, options, finder);
    if (heldOut.length > 0) {
      found.notes.push(
        `Left out ${heldOut.join(" and ")}, which by name ${heldOut.length === 1 ? "is" : "are"} for ` +
          `validation or tests, beside ${read.map((list) => basename(list)).join(" and ")}: name a list to read it.`,
      );
    }
    return true;
  };
}

async function addList(
  list: string,
  found: Found,
  options: ColumnOptions,
  finder: PictureFinder,
): Promise<void> {
  const onRead = (columns: ListColumns) => found.lists.push({ path: list, columns, finder });
  try {
    const standIn = await standInAt(list);
    if (standIn !== undefined) throw new ClipsmithError(`${list} is ${standIn}.`);
    const { captionless } = found;
    for await (const row of readList(list, { ...options, captionless, onRead })) {
      const where = `${list}:${row.line}`;
      if ("problem" in row) {
        found.skipped.push({ where, reason: row.problem });
      } else if (isAddress(row.picture) && !row.picture.startsWith("file:")) {
        const reason = `the picture is a web address, download it first: ${row.picture}`;
        found.skipped.push({ where, reason });
      } else {
        const picture = resolve(dirname(list), row.picture);
        addCaptions(found, picture, row.captions);
        const listed = found.rows.get(picture);
        if (listed !== undefined) listed.where.push(where);
        else found.rows.set(picture, { written: row.picture, where: [where], finder });
      }
    }
  } catch (error) {
    if (error instanceof ClipsmithError) throw error;
    throw new ClipsmithError(`Cannot read ${list}: ${messageOf(error)}`, { cause: error });
  }
}

/** The samples whose pictures exist; those of folders are known to, those of lists are looked up. */
async function existing(found: Found): Promise<Sample[]> {
  const located = await mapConcurrently(
    [...found.captions],
    FILE_CONCURRENCY,
    async ([picture, captions]) => {
      const listed = found.rows.get(picture);
      if (listed === undefined)
        return { listed, captions, place: { file: picture, isExact: true } };
      const file = await findFile(picture);
      const place = file ? { file, isExact: true } : await listed.finder.find(listed.written);
      return { listed, captions, place };
    },
  );
  const claims = new Map<string, number>();
  for (const { place } of located) {
    if ("file" in place) claims.set(place.file, (claims.get(place.file) ?? 0) + 1);
  }
  const captionsOf = new Map<string, string[]>();
  for (const { listed, captions, place } of located) {
    // Of two pictures that a list tells apart, one would get the other's captions.
    const isTaken = "file" in place && !place.isExact && claims.get(place.file)! > 1;
    if ("problem" in place || isTaken) {
      const reason =
        "problem" in place
          ? place.problem
          : `the picture does not exist: ${listed!.written}, and ${place.file} is another's`;
      for (const where of listed!.where) found.skipped.push({ where, reason });
      continue;
    }
    const known = captionsOf.get(place.file);
    if (known === undefined) captionsOf.set(place.file, captions);
    else known.push(...captions);
  }
  return [...captionsOf].map(([picture, captions]) => ({ picture, captions }));
}

function noSample(root: string, { skipped, notes, captionless, lists }: Found): ClipsmithError {
  const kinds = new Map<string, Skipped[]>();
  for (const one of skipped) {
    const kind = one.reason.split(": ", 1)[0]!;
    const same = kinds.get(kind);
    if (same === undefined) kinds.set(kind, [one]);
    else same.push(one);
  }
  const summary = [...kinds].map(([kind, all]) => {
    const examples = all.slice(0, 3).map(({ where }) => basename(where));
    const more = all.length > 3 ? ", ..." : "";
    const detail = all[0]!.reason.slice(kind.length + 2);
    return `\n  ${all.length} times: ${kind} (${examples.join(", ")}${more})${detail && `, the first: ${detail}`}`;
  });
  for (const note of notes) summary.push(`\n  ${note}`);
  if (captionless) return new ClipsmithError(`${root} holds no picture.${summary.join("")}`);
  const advice =
    lists.length > 0
      ? "Pictures are looked for where the list says, then by name in the folders below it and beside it. " +
        "Captions with a separator in them need quotes. --picture-column and --caption-column name columns."
      : "Put a .txt file of the same name beside each picture, one caption a line; or put the pictures of " +
        "each kind into a folder of its own, whose name is their caption; or list them in a " +
        ".csv, .tsv, .json or .jsonl file with a column of pictures (path, image, file_name, ...) " +
        "and one of captions (caption, text, title, ...).";
  return new ClipsmithError(
    `${root} holds no picture with a caption.${summary.join("")}\n${advice}`,
  );
}
