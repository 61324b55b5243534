import { readdir, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { makeFolders } from "../util/make-folders.js";
import { replaceFile } from "../util/write-file.js";
import type { Embedded } from "./embed-entries.js";
import { checkSame, checksumOf, MANIFEST, type Manifest, readManifest } from "./manifest.js";
import { BEGINNING, type Position } from "./portions.js";
import { readRecord, writeShard } from "./shard-files.js";

const finishedSchema = z.object({ shards: z.int().min(0), pictures: z.int().min(0) });

/** What there is of a part, once it is finished. */
export type Finished = z.output<typeof finishedSchema>;

/** What there is of a part. */
export interface PartState extends Finished {
  /** Where it goes on. */
  readonly next: Position;
  readonly isFinished: boolean;
}

/**
 * One part's files in a folder of embeddings. Its shards are numbered, and each says where the part goes
 * on after it: they are a chain from the beginning. A shard is there whole or not at all.
 */
export class PartFiles {
  readonly #folder: string;
  readonly #manifest: Manifest;
  readonly #name: string;

  /** @param index of the part */
  constructor(folder: string, manifest: Manifest, index: number) {
    this.#folder = folder;
    this.#manifest = manifest;
    this.#name = String(index).padStart(5, "0");
  }

  /** Of the file that names what was skipped. */
  get skippedPath(): string {
    return join(this.#folder, `${this.#name}-skipped.jsonl`);
  }

  /** Of the file that keeps the part to one process. */
  get lockPath(): string {
    return join(this.#folder, `${this.#name}.lock`);
  }

  get #finishedPath(): string {
    return join(this.#folder, `${this.#name}.json`);
  }

  /** Path of both files of a shard, without their extensions. */
  shardPath(shard: number): string {
    return join(this.#folder, `${this.#name}-${String(shard).padStart(6, "0")}`);
  }

  /** What is there, as far as its shards follow each other without a gap. */
  async state(): Promise<PartState> {
    const settings = checksumOf(this.#manifest);
    let shards = 0;
    let pictures = 0;
    let next = BEGINNING;
    for (;;) {
      const record = await readRecord(this.shardPath(shards));
      if (record === undefined || record.settings !== settings) break;
      shards++;
      pictures += record.rows;
      next = record.next;
    }
    const finished = await this.finished();
    return { shards, pictures, next, isFinished: finished?.shards === shards };
  }

  /** What `finish` was told; undefined if it was not called. */
  async finished(): Promise<Finished | undefined> {
    try {
      return finishedSchema.parse(JSON.parse(await readFile(this.#finishedPath, "utf8")));
    } catch {
      return undefined;
    }
  }

  /** Removes what is not, or is after, the first so many shards: it is made again. */
  async removeFrom(shards: number): Promise<void> {
    await rm(this.#finishedPath, { force: true });
    const pattern = new RegExp(`^${this.#name}-(\\d+)\\.(?:parquet|safetensors)(\\..+\\.tmp)?$`);
    for (const name of await readdir(this.#folder)) {
      const [, shard, temporary] = pattern.exec(name) ?? [];
      if (shard === undefined || (temporary === undefined && Number(shard) < shards)) continue;
      await rm(join(this.#folder, name), { force: true });
    }
  }

  /**
   * @param next where the part goes on after it
   * @throws ClipsmithError when it cannot be written
   */
  async write(shard: number, content: Embedded, next: Position): Promise<void> {
    const record = { settings: checksumOf(this.#manifest), next };
    await writeShard(this.shardPath(shard), this.#manifest.model.width, content, record);
  }

  /** Says that all of the part is there. */
  async finish({ shards, pictures }: Finished): Promise<void> {
    await replaceFile(this.#finishedPath, [json({ shards, pictures })]);
  }
}

/**
 * Makes a folder for embeddings, or takes up one that is there.
 *
 * @throws ClipsmithError when it holds something else, or embeddings that were made otherwise
 */
export async function openFolder(folder: string, manifest: Manifest): Promise<void> {
  const path = resolve(folder);
  let names: string[];
  try {
    await makeFolders(path);
    names = await readdir(path);
  } catch (cause) {
    throw new ClipsmithError(`Cannot use ${path} for embeddings: ${messageOf(cause)}.`, { cause });
  }
  if (!names.includes(MANIFEST)) {
    // Another part's process may just be writing it.
    const foreign = names.find((name) => !name.startsWith(MANIFEST));
    if (foreign !== undefined) {
      throw new ClipsmithError(
        `${path} holds ${foreign} and no embeddings. Choose a folder of its own for them.`,
      );
    }
    await replaceFile(join(path, MANIFEST), [json(manifest)]);
  }
  const found = await readManifest(path);
  if (found) checkSame(path, found, manifest);
}

function json(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);
}
