import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { type Extract, extract } from "tar-stream";
import { messageOf } from "../util/errors.js";
import { type ByteFile, Unreadable } from "./byte-file.js";
import { CAPTION_COLUMNS, captionLines, captionsOf, columnName, firstOf } from "./captions.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { parseJson } from "./json.js";
import { PICTURE_EXTENSIONS } from "./picture-kinds.js";
import { type ArchiveOptions, type Entry, MAX_ENTRY_BYTES, shardOf, tooLarge } from "./shard.js";
import type { Shard } from "./source.js";

/** Extensions of the files that captions are looked for in, best first. */
const CAPTION_EXTENSIONS = ["txt", "caption", "json", "cls"];

type Member = Extract extends AsyncIterable<infer Member> ? Member : never;

/** The neighbouring files of one key. */
interface Group {
  readonly key: string;
  readonly files: Map<string, Content>;
}

/** What a file holds; of what is too large, the number of bytes. Files of no use are undefined. */
type Content = Uint8Array | number | "link" | undefined;

/** A link's file may lie anywhere before it, or outside, and is not looked for. */
const LINK = "a link in the archive: make it by tar -h --hard-dereference";

/**
 * A tar file as WebDataset and img2dataset write them, gzipped or not: files of one key are neighbours,
 * the key being the path up to the first dot of the file's name, the extension what follows. A sample
 * is a key's picture with the lines of its .txt or .caption, else the caption (or captions, text, title,
 * description) of its .json, else its .cls if that is a name and not a number; or none, if captions are
 * optional.
 *
 * @param open opens the file anew for each reading
 */
export function tarShard(
  name: string,
  open: () => ByteFile,
  { maxEntryBytes = MAX_ENTRY_BYTES, captions = "required" }: ArchiveOptions = {},
): Shard {
  return shardOf(name, () => readTar(name, open(), { maxEntryBytes, captions }));
}

async function* readTar(
  name: string,
  file: ByteFile,
  options: Required<ArchiveOptions>,
): AsyncGenerator<Entry> {
  const seen = new Set<string>();
  const entryOf = (group: Group): Entry => {
    const where = `${name}/${group.key}`;
    if (seen.has(group.key)) {
      const reason = "duplicate key: files of one key must be neighbours, and it came before";
      return { where, reason };
    }
    seen.add(group.key);
    return sampleOf(where, group, options);
  };

  let group: Group | undefined;
  let failure: Unreadable | undefined;
  let hasLinks = false;
  try {
    for await (const member of membersOf(file)) {
      const { key, extension } = partsOf(member.header.name);
      const isLink = isLinkType(member.header.type);
      hasLinks ||= isLink;
      if ((member.header.type !== "file" && !isLink) || key === undefined) {
        member.resume();
        continue;
      }
      if (group !== undefined && (group.key !== key || group.files.has(extension))) {
        yield entryOf(group);
        group = undefined;
      }
      group ??= { key, files: new Map() };
      group.files.set(extension, await contentOf(member, extension, options.maxEntryBytes));
    }
  } catch (error) {
    failure = explain(error);
  }
  if (group !== undefined) {
    const entry = entryOf(group);
    // What a broken shard's last key lacks, it may have had.
    if (failure === undefined || "captions" in entry) yield entry;
  }
  if (failure !== undefined) throw failure;
  if (seen.size > 0) return;
  throw hasLinks
    ? new Unreadable("the shard holds only links", "make it by tar -h --hard-dereference")
    : new Unreadable("the shard is empty");
}

function isLinkType(type: Member["header"]["type"]): boolean {
  return type === "link" || type === "symlink";
}

/** The files in a tar, each to be read before the next. */
async function* membersOf(file: ByteFile): AsyncGenerator<Member> {
  const input = Readable.from(plain(file.read()), { objectMode: false });
  const members = extract();
  // pipe() does not pass errors on.
  input.on("error", (error) => members.destroy(error));
  input.pipe(members);
  try {
    yield* members;
  } finally {
    input.destroy();
    members.destroy();
  }
}

/** The bytes, decompressed if they are gzip's, whatever the file's name says. */
async function* plain(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = bytes[Symbol.asyncIterator]();
  const first = await chunks.next();
  if (first.done) return;
  const whole = prepend(first.value, chunks);
  if (first.value[0] !== 0x1f || first.value[1] !== 0x8b) return yield* whole;
  const input = Readable.from(whole, { objectMode: false });
  const output = createGunzip();
  input.on("error", (error) => output.destroy(error));
  try {
    yield* input.pipe(output);
  } finally {
    input.destroy();
  }
}

async function* prepend<T>(first: T, rest: AsyncIterator<T>): AsyncGenerator<T> {
  try {
    yield first;
    for (;;) {
      const next = await rest.next();
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}

/** Key and extension; no key for what is hidden, or has no extension. */
function partsOf(path: string): { key: string | undefined; extension: string } {
  const [, key, extension] = /^((?:.*\/)?[^./][^./]*)\.([^/]+)$/s.exec(path) ?? [];
  return { key: key?.replace(/^\.\//, ""), extension: extension?.toLowerCase() ?? "" };
}

/** Reads a member. */
async function contentOf(
  member: Member,
  extension: string,
  maxEntryBytes: number,
): Promise<Content> {
  const { size, type } = member.header;
  const useful = PICTURE_EXTENSIONS.includes(extension) || CAPTION_EXTENSIONS.includes(extension);
  const bytes = useful && size <= maxEntryBytes ? new Uint8Array(size) : undefined;
  let length = 0;
  for await (const chunk of member as AsyncIterable<Uint8Array>) {
    bytes?.set(chunk, length);
    length += chunk.length;
  }
  if (useful && isLinkType(type)) return "link";
  return bytes ?? (useful ? size : undefined);
}

function sampleOf(
  where: string,
  { files }: Group,
  { maxEntryBytes, captions: wanted }: Required<ArchiveOptions>,
): Entry {
  const skip = (reason: string): Entry => ({ where, reason });
  const extension = PICTURE_EXTENSIONS.find((candidate) => files.has(candidate));
  if (extension === undefined) return skip(`no picture: only .${[...files.keys()].join(", .")}`);
  const picture = files.get(extension);
  if (picture === "link") return skip(LINK);
  if (typeof picture === "number") return skip(tooLarge(picture, maxEntryBytes));
  if (picture === undefined || picture.length === 0) return skip("the picture is empty");
  let problem = "no caption";
  for (const candidate of CAPTION_EXTENSIONS) {
    const content = files.get(candidate);
    if (content === "link") problem = LINK;
    if (!(content instanceof Uint8Array)) continue;
    const text = decodeText(content);
    if (text === undefined) {
      problem = NOT_UTF8;
      continue;
    }
    try {
      const captions = captionsIn(candidate, text);
      if (captions.length > 0) return { name: where, picture, captions };
    } catch (error) {
      problem = `the .json is not JSON: ${messageOf(error).slice(0, 120)}`;
    }
  }
  return wanted === "optional" ? { name: where, picture, captions: [] } : skip(problem);
}

/** @throws SyntaxError for JSON that is none */
function captionsIn(extension: string, text: string): string[] {
  if (extension === "cls" && /^\s*\d+\s*$/.test(text)) return [];
  if (extension !== "json") return captionLines(text);
  const value: unknown = parseJson(text);
  if (typeof value !== "object" || value === null) throw new SyntaxError("it is no object");
  const fields = Object.entries(value).map(([name, v]) => [columnName(name), v] as const);
  return captionsOf(firstOf(new Map(fields), CAPTION_COLUMNS));
}

/** What ended the reading, in words that can be counted. */
function explain(error: unknown): Unreadable {
  if (error instanceof Unreadable) return error;
  const message = messageOf(error);
  const truncated =
    message === "Unexpected end of data" || (error as NodeJS.ErrnoException).code === "Z_BUF_ERROR";
  if (truncated) return new Unreadable("the shard is truncated", message, error);
  return new Unreadable("the shard is damaged", message, error);
}
