import { join, relative, sep } from "node:path";
import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import type { ArchiveFolder } from "./found.js";

/** A folder that has archives in place of pictures of its own. */
export class OnlyArchives extends ClipsmithError {
  readonly archives: readonly ArchiveFolder[];

  constructor(root: string, archives: readonly ArchiveFolder[]) {
    super(
      `${root} holds no pictures of its own, but archives of them: ${foldersOf(root, archives)}. Name one of these ` +
        `folders, as in ${quote(archives[0]!.folder)}, or several in braces.`,
    );
    this.archives = archives;
  }
}

/** Says what archives were left out of a collection that has pictures as well; undefined where there are none. */
export function leftOutArchives(
  root: string,
  archives: readonly ArchiveFolder[],
): string | undefined {
  if (archives.length === 0) return undefined;
  return `Left out archives among the pictures: ${foldersOf(root, archives)}. Name them to read them.`;
}

function foldersOf(root: string, archives: readonly ArchiveFolder[]): string {
  return archives
    .map(({ folder, names }) => `${placeOf(root, folder)} (${counted(names.length, "file")})`)
    .join(", ");
}

function placeOf(root: string, folder: string): string {
  return folder === root ? folder : relative(root, folder).split(sep).join("/");
}

/** Parts of data sets, by the names that they go by. */
const SPLITS: readonly (readonly [string, RegExp])[] = [
  ["train", /(^|[-_.])train(ing)?(?=[-_.\d]|$)/i],
  ["test", /(^|[-_.])test(ing)?(?=[-_.\d]|$)/i],
  ["validation", /(^|[-_.])(val|valid|validation|dev)(?=[-_.\d]|$)/i],
];

/** Which part of a data set a file is of, by its name or else its folder's. */
function splitOf(folder: string, name: string): string | undefined {
  for (const text of [name, ...folder.split(/[\\/]/).reverse()]) {
    const split = SPLITS.find(([, pattern]) => pattern.test(text));
    if (split !== undefined) return split[0];
  }
  return undefined;
}

/**
 * What is read of a folder's archives: those to train on, where their names tell them from those to test with.
 *
 * @param root the folder that the user named
 * @returns the files, and what to tell the user of the choice
 * @throws OnlyArchives if they lie in several folders, so that only the user knows which are meant
 */
export function shardsToTrainOn(
  root: string,
  archives: readonly ArchiveFolder[],
): { files: string[]; notes: string[] } {
  const all = archives.flatMap(({ folder, names }) =>
    names.map((name) => ({ folder, name, split: splitOf(placeOf(root, folder), name) })),
  );
  const splits = [...new Set(all.map(({ split }) => split))];
  const isSplit = splits.includes("train") && splits.length > 1;
  const kept = isSplit ? all.filter(({ split }) => split === "train") : all;
  const folders = [...new Set(kept.map(({ folder }) => folder))];
  if (folders.length > 1) throw new OnlyArchives(root, archives);
  const notes: string[] = [];
  if (isSplit) {
    const left = splits
      .filter((split) => split !== "train")
      .map((split) => {
        const files = all.filter((file) => file.split === split);
        const { folder, name } = files[0]!;
        const example = relative(root, join(folder, name)).split(sep).join("/");
        return `${counted(files.length, "file")} of ${split ?? "no such name"} (${example})`;
      });
    notes.push(
      `Reading the ${counted(kept.length, "file")} named train; left out are ${left.join(" and ")}. Name files to read them.`,
    );
  } else if (folders[0] !== root) {
    notes.push(`Reading ${counted(kept.length, "file")} of ${folders[0]}.`);
  }
  return { files: kept.map(({ folder, name }) => join(folder, name)), notes };
}
