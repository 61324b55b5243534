import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { ClipsmithError } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import type { Embedded } from "./embed-entries.js";
import { checksumOf, MANIFEST, readManifest } from "./manifest.js";
import { PartFiles } from "./part-files.js";
import { readShard } from "./shard-files.js";

/** Whether a path is that of a folder of embeddings. */
export function holdsEmbeddings(path: string): boolean {
  return existsSync(join(path, MANIFEST));
}

/** A folder of embeddings, all of its parts finished. */
export interface Embeddings {
  /** Pictures in it. */
  readonly pictures: number;
  /** Its shards, part after part. */
  read(): AsyncGenerator<Embedded>;
}

/**
 * Opens a folder of embeddings.
 *
 * @param model that they must be of, by its checksum
 * @throws ClipsmithError when it is another model's, or its parts are not all finished
 */
export async function openEmbeddings(
  folder: string,
  model: { readonly checksum: string },
): Promise<Embeddings> {
  const path = resolve(folder);
  const manifest = await readManifest(path);
  if (manifest === undefined) throw new ClipsmithError(`${path} holds no embeddings.`);
  if (manifest.model.checksum !== model.checksum) {
    throw new ClipsmithError(
      `${path} holds embeddings of another model: its weights or its options are not those of this one. ` +
        "Embed the pictures anew with: clipsmith embed",
    );
  }
  const parts = Array.from({ length: manifest.parts }, (_, i) => new PartFiles(path, manifest, i));
  const finished = await Promise.all(parts.map((part) => part.finished()));
  const missing = finished.flatMap((part, i) => (part === undefined ? [i] : []));
  if (missing.length > 0) {
    const names =
      missing.length === 1 ? `Part ${missing[0]} is` : `Parts ${namesOf(missing.map(String))} are`;
    throw new ClipsmithError(
      `${path} is not complete. ${names} missing, of ${manifest.parts} that count from 0: run the command ` +
        "that makes them, it goes on where it was.",
    );
  }
  const settings = checksumOf(manifest);
  return {
    pictures: finished.reduce((sum, part) => sum + part!.pictures, 0),
    async *read() {
      for (const [i, part] of parts.entries()) {
        for (let shard = 0; shard < finished[i]!.shards; shard++) {
          yield await readShard(part.shardPath(shard), settings);
        }
      }
    },
  };
}
