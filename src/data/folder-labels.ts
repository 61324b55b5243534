import { basename, dirname } from "node:path";
import { isCaption } from "./captions.js";
import { BROKEN_LINK, NO_CAPTIONS, stem } from "./folder.js";
import type { Found } from "./found.js";
import { isUnreadableReason, UNFINISHED_REASON } from "./picture-kinds.js";
import type { Sample } from "./sample.js";

/** Names of folders that tell parts of a collection apart, and not what is in pictures. */
const NO_LABELS = new Set(
  "train training test testing val valid validation dev eval images image imgs img pictures data".split(
    " ",
  ),
);

/** Numbers before names: `10_toys` of Kohya's trainer, `001.Black_footed_Albatross` of CUB. */
const NUMBERED = /^\d+[\s._-]+(?=.*\p{L})/u;

/**
 * The pictures with their folders' names, if nothing but captions is missing and the names differ and are words.
 * Says in a note that they are captions, or why they are not.
 */
export function labelled(root: string, { skipped, notes }: Found): Sample[] {
  const bare = skipped.filter(({ reason }) => reason === NO_CAPTIONS).map(({ where }) => where);
  const others = skipped.filter(({ reason }) => reason !== NO_CAPTIONS);
  const stems = new Set(bare.map(stemOf));
  const mayHaveCaptions = others.some(
    ({ where, reason }) => !isHarmless(reason) && (!isOrphan(reason) || stems.has(stemOf(where))),
  );
  if (mayHaveCaptions) return [];
  const { labels, note } = folderLabels(root, bare);
  if (note !== undefined) notes.push(note);
  if (labels === undefined) return [];
  skipped.splice(0, skipped.length, ...others);
  return bare.map((picture, i) => ({ picture, captions: [labels[i]!] }));
}

/**
 * The names of pictures' folders as captions, if there are several and they are words; and what to tell the user of
 * it, or why they are not taken.
 *
 * @param root the folder that all pictures are in; its own name is no caption
 */
export function folderLabels(
  root: string,
  pictures: readonly string[],
): { labels: string[]; note: string } | { labels?: undefined; note?: string } {
  const folders = [...new Set(pictures.map((path) => dirname(path)))];
  if (folders.length < 2 || folders.includes(root) || folders.includes(".")) return {};
  const names = folders.map((folder) => basename(folder).normalize("NFC"));
  const wordless = names.filter((name) => !/\p{L}/u.test(name));
  const parts = names.filter((name) => NO_LABELS.has(name.toLowerCase()));
  if (wordless.length > 0 || parts.length > 0) {
    const what = wordless.length > 0 ? "hold no word" : "don't say what is in pictures";
    const example = [...wordless, ...parts][0];
    return {
      note: `The names of the pictures' folders are not taken for captions: some ${what}, such as "${example}".`,
    };
  }
  const numbered = names.every((name) => NUMBERED.test(name));
  const labels = pictures.map((path) => {
    const name = basename(dirname(path));
    const words = numbered ? name.normalize("NFC").replace(NUMBERED, "") : name.normalize("NFC");
    const label = words.replaceAll("_", " ").trim();
    return isCaption(label) ? label : name;
  });
  const [first] = pictures;
  return {
    labels,
    note:
      "No picture has captions of its own: the names of the pictures' folders are their captions" +
      `${numbered ? ", without the numbers before them" : ""}. ` +
      `${basename(dirname(first!))}/${basename(first!)} is "${labels[0]}".`,
  };
}

function stemOf(path: string): string {
  return stem(basename(path));
}

/** What is left out and says nothing about captions of other pictures. */
function isHarmless(reason: string): boolean {
  return reason === BROKEN_LINK || reason === UNFINISHED_REASON || isUnreadableReason(reason);
}

function isOrphan(reason: string): boolean {
  return reason.startsWith("no picture beside the ");
}
