import { stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { expand } from "brace-expansion";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { archiveKind, shardsAmong, zipsAmong } from "./archive-names.js";
import { type ByteFile, LocalFile, Unreadable } from "./byte-file.js";
import { isAddress } from "./captions.js";
import { readCollection } from "./collection.js";
import { FILE_CONCURRENCY, mapConcurrently } from "./concurrent.js";
import { FOLDER_LISTS } from "./folder-lists.js";
import type { ArchiveFolder } from "./found.js";
import { httpFile } from "./http-file.js";
import { listFolder } from "./list-folder.js";
import { parquetShard } from "./parquet-shard.js";
import type { RemoteOptions } from "./remote-file.js";
import { S3 } from "./s3-file.js";
import { OnlyArchives, shardsToTrainOn } from "./shards-below.js";
import type { InMemory, SampleSource, Shard, SourceOptions } from "./source.js";
import { tarLabels } from "./tar-labels.js";
import { tarShard } from "./tar-shard.js";
import { zipNotes, zipShard } from "./zip-shard.js";

/** A file with many samples in it. */
interface Archive {
  /** Path or address, without what signs it. */
  readonly name: string;
  /** Opens it anew. */
  readonly open: () => ByteFile;
  /** On this machine: the folder it lies in. */
  readonly folder?: string;
}

/**
 * Opens a collection of any kind, to be read shard by shard. `spec` is one of
 * - a folder or a list as {@link readCollection} takes them, one shard, read at once;
 * - a .tar, .tar.gz or .tgz file of WebDataset's layout, a .parquet file or a .zip archive;
 * - a folder with such files directly in it, as img2dataset writes them: its tar files, or else its
 *   Parquet files, are the shards, by name. A Parquet file beside a folder of its name only describes
 *   that folder, which is then read as pictures with captions. A folder without pictures of its own is read by
 *   the only folder in it that has such files. Where some files are named train and others test or validation,
 *   only the former are read, unless captions are optional;
 * - an http://, https:// or s3:// address of such a file; with s3:// also of a folder with such files.
 *
 * Braces give several of these: `shards/{00000..00012}.tar`, `{cats,dogs}/`.
 *
 * @throws ClipsmithError when there is nothing at `spec`, or nothing that is a collection; and when the
 * first of the files at addresses cannot be read
 */
export async function openSource(spec: string, options: SourceOptions = {}): Promise<SampleSource> {
  let connection: Promise<S3> | undefined;
  const s3 = () => {
    connection ??= S3.connect();
    return connection;
  };
  let reached = false;
  const shards: Shard[] = [];
  const notes: string[] = [];
  for (const place of await expandBraces(spec)) {
    if (!isAddress(place)) {
      const local = await openLocal(resolve(place), options);
      shards.push(...local.shards);
      notes.push(...local.notes);
      continue;
    }
    const archives = await remoteArchives(place, options, s3);
    shards.push(...archives.map((archive) => archiveShard(archive, options)));
    // A wrong address or key shows now, and not as a training without samples.
    if (!reached) await reach(archives[0]!);
    reached = true;
  }
  return { name: withoutQuery(spec), shards, notes, opened: { spec, options } };
}

/** What `spec` stands for: itself where it exists, braces and all. */
async function expandBraces(spec: string): Promise<string[]> {
  if (!spec.includes("{")) return [spec];
  if (!isAddress(spec) && (await stat(spec).catch(() => undefined)) !== undefined) return [spec];
  // To braces a backslash is no part of a path.
  return expand(process.platform === "win32" ? spec.replaceAll("\\", "/") : spec);
}

/** What is at a path, and how it was understood. */
async function openLocal(
  path: string,
  options: SourceOptions,
): Promise<{ shards: Shard[]; notes: readonly string[] }> {
  const kind = await stat(path).catch(() => undefined);
  if (kind !== undefined && !kind.isDirectory() && archiveKind(path) !== undefined) {
    return openArchives([path], options);
  }
  let archives = kind?.isDirectory() ? await archivesIn(path) : [];
  if (archives.length === 0) {
    try {
      const inMemory = await readCollection(path, {
        ...options,
        captions: options.captions ?? "required",
      });
      return { shards: [collectionShard(path, inMemory)], notes: inMemory.notes };
    } catch (error) {
      if (!(error instanceof OnlyArchives)) throw error;
      archives = error.archives;
    }
  }
  if (options.captions === "optional") {
    const files = archives.flatMap(({ folder, names }) => names.map((name) => join(folder, name)));
    return openArchives(files, options);
  }
  const { files, notes } = shardsToTrainOn(path, archives);
  const opened = await openArchives(files, options);
  return { shards: opened.shards, notes: [...notes, ...opened.notes] };
}

/** Archives on this machine, each with what shows before it is read. */
async function openArchives(
  files: readonly string[],
  options: SourceOptions,
): Promise<{ shards: Shard[]; notes: readonly string[] }> {
  const opened = await mapConcurrently(files, FILE_CONCURRENCY, async (name) => {
    const open = () => new LocalFile(name);
    const kind = archiveKind(name);
    if (kind === "tar" && options.captions !== "optional") {
      const { labels, notes } = await tarLabels(open());
      return { shard: tarShard(name, open, options, labels), notes };
    }
    const notes = kind === "zip" ? await zipNotes(open(), options) : [];
    return { shard: archiveShard({ name, open, folder: dirname(name) }, options), notes };
  });
  const notes = new Set(opened.flatMap((archive) => archive.notes));
  return { shards: opened.map(({ shard }) => shard), notes: [...notes] };
}

/** The archives directly in a folder, unless a list comes before them. */
async function archivesIn(folder: string): Promise<readonly ArchiveFolder[]> {
  const { files, folders, broken } = await listFolder(folder).catch((cause: unknown) => {
    throw new ClipsmithError(`Cannot read ${folder}: ${messageOf(cause)}`, { cause });
  });
  if (files.some((name) => FOLDER_LISTS.includes(name))) return [];
  // A link that leads nowhere is a shard that cannot be read, and is told as one.
  const names = shardsAmong([...files, ...broken], folders);
  return names.length > 0 ? [{ folder, names }] : [];
}

async function remoteArchives(
  address: string,
  options: RemoteOptions,
  connect: () => Promise<S3>,
): Promise<Archive[]> {
  const scheme = address.split(":", 1)[0]!.toLowerCase();
  if (scheme === "s3") {
    const s3 = await connect();
    const archive = (name: string) => ({ name, open: () => s3.file(name, options) });
    if (archiveKind(address) !== undefined) return [archive(address)];
    const folder = address.endsWith("/") ? address : `${address}/`;
    const files = await s3.list(folder, options);
    const shards = shardsAmong(files);
    const names = shards.length > 0 ? shards : zipsAmong(files);
    if (names.length > 0) return names.map((name) => archive(folder + name));
    throw new ClipsmithError(
      `${folder} holds no .tar or .parquet file, nor a .zip archive. Is the address complete?`,
    );
  }
  if (scheme !== "http" && scheme !== "https") {
    throw new ClipsmithError(`Cannot read ${address}: addresses are http://, https:// or s3://.`);
  }
  const name = withoutQuery(address);
  if (archiveKind(name) !== undefined) return [{ name, open: () => httpFile(address, options) }];
  throw new ClipsmithError(
    `${name} is no .tar or .parquet file, nor a .zip archive. Web servers do not list folders; name the files, as in ` +
      "https://host/shards/{00000..00012}.tar.",
  );
}

function archiveShard({ name, open, folder }: Archive, options: SourceOptions): Shard {
  const kind = archiveKind(name);
  if (kind === "tar") return tarShard(name, open, options);
  if (kind === "zip") return zipShard(name, open, options);
  return parquetShard(name, open, { ...options, ...(folder !== undefined && { folder }) });
}

/** @throws ClipsmithError if not even the archive's beginning can be read */
async function reach({ name, open }: Archive): Promise<void> {
  try {
    for await (const _ of open().read()) break;
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    throw new ClipsmithError(`${name}: ${error.message}`, { cause: error });
  }
}

function collectionShard(path: string, inMemory: InMemory): Shard {
  const { samples, skipped } = inMemory;
  const entries = [...samples.map((sample) => ({ name: sample.picture, ...sample })), ...skipped];
  return {
    name: path,
    inMemory,
    async *read(start = 0) {
      yield* entries.slice(start);
    },
  };
}

/** An address without its query, which may hold a signature. */
function withoutQuery(address: string): string {
  return /^https?:/i.test(address) ? address.replace(/[?#].*$/s, "") : address;
}
