import { posix } from "node:path";
import { placeOf } from "./archive-key.js";
import type { ByteFile } from "./byte-file.js";
import { folderLabels } from "./folder-labels.js";
import { litterIn } from "./litter.js";
import { kindOfFile } from "./picture-kinds.js";
import { membersOf } from "./tar-members.js";

/** Captions by folders of a tar, and what to tell the user of them. */
export interface TarLabels {
  readonly labels: ReadonlyMap<string, string>;
  readonly notes: readonly string[];
}

const NONE: TarLabels = { labels: new Map(), notes: [] };

/**
 * The names of folders as captions of a tar's pictures, where nothing lies beside any of them, as in
 * {@link folderLabels}. Where something does, as in WebDataset's files, its first files show it; else the names of all
 * have to be seen, and the file is read to its end. What cannot be read has no labels: its reader is told.
 */
export async function tarLabels(file: ByteFile): Promise<TarLabels> {
  const pictures = new Set<string>();
  const others = new Set<string>();
  /** The first picture of each folder. */
  const folders = new Map<string, string>();
  try {
    for await (const member of membersOf(file)) {
      member.resume();
      const { name, type } = member.header;
      const place = placeOf(name);
      if (type !== "file" || place === undefined || litterIn(name) !== undefined) continue;
      const kind = kindOfFile(name);
      const [own, beside] = kind === "picture" ? [pictures, others] : [others, pictures];
      if (kind !== "picture" && kind !== "other") continue;
      if (beside.has(place.key)) return NONE;
      own.add(place.key);
      const folder = posix.dirname(place.key);
      if (kind !== "picture") continue;
      if (folder === ".") return NONE;
      if (!folders.has(folder)) folders.set(folder, `${place.stem}.${place.extension}`);
    }
  } catch {
    return NONE;
  }
  const { labels, note } = folderLabels("", [...folders.values()]);
  return {
    labels: new Map(labels === undefined ? [] : [...folders.keys()].map((f, i) => [f, labels[i]!])),
    notes: note === undefined ? [] : [note],
  };
}
