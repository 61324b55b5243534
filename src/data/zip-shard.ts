import { basename, extname } from "node:path";
import { KeyFiles, placeOf, type SampleFiles } from "./archive-key.js";
import { isUseful, sampleOf } from "./archive-sample.js";
import { type ByteFile, Unreadable } from "./byte-file.js";
import { CAPTION_EXTENSIONS } from "./caption-files.js";
import { folderLabels } from "./folder-labels.js";
import { LitterCount, litterIn } from "./litter.js";
import { kindOfFile, PICTURE_EXTENSIONS } from "./picture-kinds.js";
import { type ArchiveOptions, type Entry, litterEntry, MAX_ENTRY_BYTES, shardOf } from "./shard.js";
import type { Shard } from "./source.js";
import { ENCRYPTED, ZipFile, type ZipMember } from "./zip-file.js";

/**
 * A zip archive of pictures with captions beside them, in any order and in folders of any depth. What belongs
 * together is told as in tar files, and captions are looked for in the same files; where there are none at all, the
 * names of the pictures' folders are captions, as in folders. Needs a file of which parts can be read.
 *
 * @param open opens the file anew for each reading
 */
export function zipShard(
  name: string,
  open: () => ByteFile,
  { maxEntryBytes = MAX_ENTRY_BYTES, captions = "required" }: ArchiveOptions = {},
): Shard {
  return shardOf(name, (start) => readZip(name, open(), { maxEntryBytes, captions }, start));
}

/** How a zip archive is understood, in sentences; nothing where it cannot be read, which its reader is told. */
export async function zipNotes(
  file: ByteFile,
  { captions = "required" }: ArchiveOptions = {},
): Promise<readonly string[]> {
  try {
    return planOf(await ZipFile.open(file), captions).notes;
  } catch (error) {
    if (error instanceof Unreadable) return [];
    throw error;
  }
}

async function* readZip(
  name: string,
  file: ByteFile,
  { maxEntryBytes, captions }: Required<ArchiveOptions>,
  start: number,
): AsyncGenerator<Entry | undefined> {
  const zip = await ZipFile.open(file);
  const { samples, labels, litter } = planOf(zip, captions);
  for (const [index, sample] of samples.entries()) {
    if (index < start) {
      yield undefined;
      continue;
    }
    const contentOf = (member: ZipMember) => zip.contentOf(member, maxEntryBytes);
    yield await sampleOf(name, sample, captions, contentOf, labels.get(sample));
  }
  yield* litterEntry(name, litter);
}

/** What is to be read of an archive. */
interface Plan {
  readonly samples: readonly SampleFiles<ZipMember>[];
  /** Captions by folders' names, where they count. */
  readonly labels: ReadonlyMap<SampleFiles<ZipMember>, string>;
  readonly litter: LitterCount;
  readonly notes: readonly string[];
}

/** @throws Unreadable for an archive without pictures that can be read */
function planOf({ members }: ZipFile, captions: "required" | "optional"): Plan {
  if (members.length === 0) throw new Unreadable("the shard is empty");
  const litter = new LitterCount();
  const keys = new Map<string, KeyFiles<ZipMember>>();
  for (const member of members) {
    litter.addPath(member.path);
    const place = placeOf(member.path);
    if (place === undefined || litterIn(member.path) !== undefined) continue;
    const files = keys.get(place.key) ?? new KeyFiles<ZipMember>(place.key);
    keys.set(place.key, files);
    files.add(place, member);
  }
  const samples = [...keys.values()].flatMap((files) => files.samples()).filter(isOfPictures);
  const used = samples.flatMap(({ files }) => [...files.values()]).filter(isRead);
  if (used.length > 0 && used.every(({ entry }) => entry.isEncrypted())) {
    throw new Unreadable("the shard is encrypted", ENCRYPTED.replace(/^.*: /, ""));
  }
  const pictured = samples.filter((sample) => pictureOf(sample) !== undefined);
  if (pictured.length === 0) {
    const kinds = [...new Set(members.map(({ path }) => extname(path).toLowerCase()))];
    throw new Unreadable("the shard holds no pictures", `only ${kinds.slice(0, 5).join(", ")}`);
  }
  const plan = { samples, labels: new Map(), litter, notes: [] };
  if (captions === "optional" || samples.some(hasCompanions)) return plan;
  const list = members.find(({ path }) => isList(path) && litterIn(path) === undefined);
  if (list !== undefined) {
    const remedy = `${list.path}; unpack the archive and name the folder`;
    throw new Unreadable("a list in the archive says what its pictures show", remedy);
  }
  const { labels, note } = folderLabels(
    "",
    pictured.map((sample) => pictureOf(sample)!.path),
  );
  if (labels === undefined) return { ...plan, notes: note === undefined ? [] : [note] };
  return {
    ...plan,
    labels: new Map(pictured.map((sample, i) => [sample, labels[i]!])),
    notes: [note],
  };
}

function pictureOf({ files }: SampleFiles<ZipMember>): ZipMember | undefined {
  const extension = PICTURE_EXTENSIONS.find((candidate) => files.has(candidate));
  return extension === undefined ? undefined : files.get(extension);
}

/** Whether files are a sample's, whole or not, and no read-me. */
function isOfPictures({ files }: SampleFiles<ZipMember>): boolean {
  return [...files.keys()].some(
    (extension) =>
      CAPTION_EXTENSIONS.includes(extension) || kindOfFile(`file.${extension}`) !== "other",
  );
}

function isRead({ path }: ZipMember): boolean {
  return isUseful(extname(path).slice(1).toLowerCase());
}

/** Whether anything lies beside a picture that may hold captions. */
function hasCompanions(sample: SampleFiles<ZipMember>): boolean {
  const others = [...sample.files.keys()].filter((name) => kindOfFile(`file.${name}`) === "other");
  return pictureOf(sample) !== undefined && others.length > 0;
}

function isList(path: string): boolean {
  // A text may be a read-me.
  return /\.(csv|tsv|jsonl)$|^(captions|results|annotations|metadata).*\.(txt|json)$/i.test(
    basename(path),
  );
}
