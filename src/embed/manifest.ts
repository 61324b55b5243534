import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { SampleSource } from "../data/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { parseOptions } from "../util/options.js";

/** Tells what a folder of embeddings holds; no other folder has it. */
export const MANIFEST = "embeddings.json";

const sourceSchema = z.strictObject({
  name: z.string(),
  shards: z.int(),
  /** SHA-256 of the names of the shards and, where they are in memory, of their samples. */
  checksum: z.string(),
});

const manifestSchema = z.strictObject({
  format: z.literal(1),
  model: z.strictObject({
    /** See `Model.checksum`. */
    checksum: z.string(),
    /** Width L of an embedding. */
    width: z.int().min(1),
  }),
  sources: z.array(sourceSchema),
  /** Parts that the work is split into. */
  parts: z.int().min(1),
  texts: z.boolean(),
  thumbnailSize: z.int().min(0),
});

/** What all embeddings of a folder have in common. */
export type Manifest = z.output<typeof manifestSchema>;

/** What identifies a source: a sample or a shard that is added, removed or renamed makes it another. */
export function describeSource({ name, shards }: SampleSource): Manifest["sources"][number] {
  const hash = createHash("sha256");
  for (const { name, inMemory } of shards) {
    hash.update(`${name}\0`);
    for (const { picture } of inMemory?.samples ?? []) hash.update(`${picture}\0`);
    for (const { where } of inMemory?.skipped ?? []) hash.update(`${where}\0`);
  }
  return { name, shards: shards.length, checksum: hash.digest("hex") };
}

/** Equal for manifests that stand for the same embeddings, whatever their sources are called. */
export function checksumOf(manifest: Manifest): string {
  const { format, model, parts, texts, thumbnailSize } = manifest;
  const all = [format, model.checksum, parts, texts, thumbnailSize, sourcesIn(manifest)];
  return createHash("sha256").update(JSON.stringify(all)).digest("hex");
}

/** Tells the sources from others. */
function sourcesIn({ sources }: Manifest): string {
  return sources.map(({ checksum }) => checksum).join();
}

/**
 * The manifest of a folder; undefined where there is none.
 *
 * @throws ClipsmithError when it cannot be read
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const path = join(folder, MANIFEST);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new ClipsmithError(`Cannot read ${path}: ${messageOf(cause)}.`, { cause });
  }
  return parseOptions(manifestSchema, json, path);
}

/** Throws ClipsmithError if what a folder holds was not made as it is to be made now. */
export function checkSame(folder: string, before: Manifest, now: Manifest): void {
  if (checksumOf(before) === checksumOf(now)) return;
  throw new ClipsmithError(
    `${folder} holds embeddings ${difference(before, now)}. Go on with the same, or choose another folder.`,
  );
}

function difference(before: Manifest, now: Manifest): string {
  if (before.model.checksum !== now.model.checksum) {
    return "of another model: its weights or its options are not those of this one";
  }
  const names = ({ sources }: Manifest) => sources.map(({ name }) => name).join(", ");
  if (sourcesIn(before) !== sourcesIn(now)) {
    return names(before) === names(now)
      ? `of ${names(before)} as it was: since then, pictures or shards were added, removed or renamed`
      : `of ${names(before)}, not of ${names(now)}`;
  }
  if (before.parts !== now.parts) {
    return `in ${before.parts === 1 ? "one part" : `${before.parts} parts`}, not in ${now.parts}`;
  }
  if (before.texts !== now.texts) return `with${before.texts ? "" : "out"} those of captions`;
  return (
    `with small pictures of ${before.thumbnailSize} pixels, not of ${now.thumbnailSize} ` +
    "(0 stands for none)"
  );
}
