import { posix } from "node:path";
import { messageOf } from "../util/errors.js";
import { KeyFiles, placeOf } from "./archive-key.js";
import { type Content, isUseful, sampleOf } from "./archive-sample.js";
import { type ByteFile, standsIn, Unreadable } from "./byte-file.js";
import { LitterCount, litterIn } from "./litter.js";
import {
  type ArchiveOptions,
  type Entry,
  litterEntry,
  MAX_ENTRY_BYTES,
  shardOf,
  tooLarge,
} from "./shard.js";
import type { Shard } from "./source.js";
import { type Member, membersOf } from "./tar-members.js";

const DUPLICATE = "duplicate key: files of one key must be neighbours, and it came before";

/** A link's file may lie anywhere before it, or outside, and is not looked for. */
const LINK = "a link in the archive: make it by tar -h --hard-dereference";

/**
 * A tar file as WebDataset and img2dataset write them, gzipped or not: files of one key are neighbours,
 * the key being the path up to the first dot of the file's name, the extension what follows. A sample
 * is a key's picture with the lines of its .txt or .caption, else the caption (or captions, text, title,
 * description) of its .json, else its .cls if that is a name and not a number; or none, if captions are
 * optional. Where names have more dots, {@link KeyFiles} tells what belongs together. What systems leave behind is
 * passed over, and counted by a last entry that is set aside.
 *
 * @param open opens the file anew for each reading
 * @param labels captions by folders, of pictures that have none of their own: see {@link tarLabels}
 */
export function tarShard(
  name: string,
  open: () => ByteFile,
  { maxEntryBytes = MAX_ENTRY_BYTES, captions = "required" }: ArchiveOptions = {},
  labels: ReadonlyMap<string, string> = new Map(),
): Shard {
  return shardOf(name, () => readTar(name, open(), { maxEntryBytes, captions }, labels));
}

async function* readTar(
  name: string,
  file: ByteFile,
  { maxEntryBytes, captions }: Required<ArchiveOptions>,
  labels: ReadonlyMap<string, string>,
): AsyncGenerator<Entry> {
  const seen = new Set<string>();
  const entriesOf = async (group: KeyFiles<Content>): Promise<Entry[]> =>
    Promise.all(
      group.samples().map(async (sample) => {
        if (seen.has(sample.name)) return { where: `${name}/${sample.name}`, reason: DUPLICATE };
        seen.add(sample.name);
        const label = labels.get(posix.dirname(sample.name));
        return sampleOf(name, sample, captions, (content) => content, label);
      }),
    );

  let group: KeyFiles<Content> | undefined;
  let failure: Unreadable | undefined;
  let hasLinks = false;
  const litter = new LitterCount();
  try {
    for await (const member of membersOf(file)) {
      const { name: path, type } = member.header;
      const isLink = isLinkType(type);
      hasLinks ||= isLink;
      const place = placeOf(path);
      litter.addPath(path);
      if ((type !== "file" && !isLink) || place === undefined || litterIn(path) !== undefined) {
        member.resume();
        continue;
      }
      if (group?.endsBefore(place)) {
        yield* await entriesOf(group);
        group = undefined;
      }
      group ??= new KeyFiles(place.key);
      group.add(place, await contentOf(member, place.extension, maxEntryBytes));
    }
  } catch (error) {
    failure = await explain(error, file);
  }
  if (group !== undefined) {
    for (const entry of await entriesOf(group)) {
      // What a broken shard's last key lacks, it may have had.
      if (failure === undefined || "captions" in entry) yield entry;
    }
  }
  if (failure !== undefined) throw failure;
  yield* litterEntry(name, litter);
  if (seen.size > 0) return;
  throw hasLinks
    ? new Unreadable("the shard holds only links", "make it by tar -h --hard-dereference")
    : new Unreadable("the shard is empty");
}

function isLinkType(type: Member["header"]["type"]): boolean {
  return type === "link" || type === "symlink";
}

/** Reads a member. */
async function contentOf(
  member: Member,
  extension: string,
  maxEntryBytes: number,
): Promise<Content> {
  const { size, type } = member.header;
  const useful = isUseful(extension);
  const bytes = useful && size <= maxEntryBytes ? new Uint8Array(size) : undefined;
  let length = 0;
  for await (const chunk of member as AsyncIterable<Uint8Array>) {
    bytes?.set(chunk, length);
    length += chunk.length;
  }
  if (useful && isLinkType(type)) return { problem: LINK };
  if (useful && bytes === undefined) return { problem: tooLarge(size, maxEntryBytes) };
  return bytes;
}

/** What ended the reading, in words that can be counted. */
async function explain(error: unknown, file: ByteFile): Promise<Unreadable> {
  if (error instanceof Unreadable) return error;
  const standIn = await standsIn(file).catch(() => undefined);
  if (standIn !== undefined) return standIn;
  const message = messageOf(error);
  const truncated =
    message === "Unexpected end of data" || (error as NodeJS.ErrnoException).code === "Z_BUF_ERROR";
  if (truncated) return new Unreadable("the shard is truncated", message, error);
  return new Unreadable("the shard is damaged", message, error);
}
