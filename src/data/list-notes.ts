import { basename, dirname, relative, sep } from "node:path";
import { counted } from "../util/counted.js";
import type { Found } from "./found.js";
import type { ListColumns } from "./list.js";
import type { PictureFinder } from "./picture-finder.js";
import type { Sample } from "./sample.js";

/** Says how lists were understood. */
export function tellLists(root: string, found: Found, samples: readonly Sample[]): void {
  for (const { path, columns, finder } of found.lists) {
    const own = samples.filter(({ picture }) => picture.startsWith(finder.base + sep));
    const folders = new Set(
      (own.length > 0 ? own : samples).map(({ picture }) => dirname(picture)),
    );
    found.notes.push(listNote(relative(root, path) || basename(path), columns, finder, folders));
  }
}

/**
 * What becomes of the pictures of folders with lists that these do not name: they are told and left out, or taken if
 * they need no captions.
 */
export async function takeUnnamed(found: Found, samples: Sample[]): Promise<void> {
  const named = new Set(samples.map(({ picture }) => picture));
  for (const finder of new Set(found.lists.map((list) => list.finder))) {
    const unnamed = (await finder.below()).filter((picture) => !named.has(picture));
    if (unnamed.length === 0) continue;
    const lists = found.lists.filter((list) => list.finder === finder);
    const by = lists.map(({ path }) => basename(path)).join(" and ");
    const pictures = `${counted(unnamed.length, "picture")} of the folder ${unnamed.length === 1 ? "is" : "are"}`;
    if (found.captionless) {
      samples.push(...unnamed.map((picture) => ({ picture, captions: [] })));
      found.notes.push(`${pictures} not named in ${by}, and taken without captions.`);
      continue;
    }
    const reason = `not named in ${by}`;
    for (const where of unnamed) found.skipped.push({ where, reason, aside: true });
    found.notes.push(`${pictures} ${reason}, and left out.`);
  }
}

const SEPARATOR_NAMES: Readonly<Record<string, string>> = {
  ",": "commas",
  ";": "semicolons",
  "\t": "tabs",
  "|": "bars",
};

/** How a list was understood, in a sentence. */
function listNote(
  name: string,
  { pictures, captions, separator }: ListColumns,
  finder: PictureFinder,
  folders: ReadonlySet<string>,
): string {
  const places = [...folders].map((folder) => finder.nameOf(folder)).sort();
  const more = places.length > 3 ? ` and ${places.length - 3} more` : "";
  const at = places.length === 0 ? "" : ` (in ${places.slice(0, 3).join(", ")}${more})`;
  const parts = [
    pictures === undefined
      ? `no header, a picture and its caption in a row${at}`
      : `pictures by "${pictures}"${at}`,
    ...(captions === undefined ? [] : [`captions by "${captions}"`]),
    ...(separator === undefined
      ? []
      : [`separated by ${SEPARATOR_NAMES[separator] ?? JSON.stringify(separator)}`]),
  ];
  return `${name}: ${parts.join(", ")}.`;
}
