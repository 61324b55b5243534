import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type Connection, connect, Index, type Table } from "@lancedb/lancedb";
import { Field, FixedSizeList, Float32, Int32, List, Schema, Utf8 } from "apache-arrow";
import type { Sample, Skipped } from "../data/sample.js";
import type { Embedder } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import { checkReplaceable, pathsOf, swapIn, TABLE } from "./index-folder.js";
import { PictureIndex } from "./picture-index.js";

/** Pictures embedded at once. */
const BATCH = 256;

/** Rows written at once: each write makes a file, and few large files are searched faster. */
const WRITE = 8192;

/** Above this many rows a search no longer compares with every row. */
const BRUTE_FORCE_ROWS = 50_000;

export interface BuildOptions {
  /** Called after every batch with the number of pictures done, indexed or skipped. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface BuildResult {
  readonly index: PictureIndex;
  /** Number of pictures in the index. */
  readonly indexed: number;
  /** Pictures that could not be read. */
  readonly skipped: readonly Skipped[];
}

/**
 * Embeds the pictures of `samples` and writes an index of them to `folder`, replacing the one that
 * is there. The old index stays in use until the new one is complete.
 *
 * @throws ClipsmithError when there are no pictures to index, or `folder` holds something else.
 */
export async function buildIndex(
  folder: string,
  embedder: Embedder,
  samples: readonly Sample[],
  { onProgress }: BuildOptions = {},
): Promise<BuildResult> {
  if (samples.length === 0) throw new ClipsmithError("There are no pictures to index.");
  await checkReplaceable(folder);
  const { current, building } = pathsOf(folder);
  await mkdir(dirname(current), { recursive: true });
  await rm(building, { recursive: true, force: true });
  let connection: Connection | undefined;
  let table: Table | undefined;
  try {
    connection = await connect(building);
    table = await connection.createEmptyTable(TABLE, rowSchema(embedder.width));
    const { indexed, skipped } = await fill(table, embedder, samples, onProgress);
    if (indexed === 0) {
      const { where, reason } = skipped[0]!;
      throw new ClipsmithError(
        `None of the ${samples.length} pictures could be read. The first: ${where}: ${reason}`,
      );
    }
    if (indexed > BRUTE_FORCE_ROWS) {
      const config = Index.ivfFlat({ distanceType: "cosine" });
      await table.createIndex("vector", { config });
    }
    table.close();
    connection.close();
    await swapIn(folder);
    return { index: await PictureIndex.open(folder), indexed, skipped };
  } catch (error) {
    table?.close();
    connection?.close();
    await rm(building, { recursive: true, force: true });
    throw error;
  }
}

/** The columns of an index of embeddings of `width` numbers. */
function rowSchema(width: number): Schema {
  return new Schema([
    new Field("id", new Int32(), false),
    new Field("picture", new Utf8(), false),
    new Field("captions", new List(new Field("item", new Utf8(), true)), false),
    new Field("vector", new FixedSizeList(width, new Field("item", new Float32(), true)), false),
  ]);
}

async function fill(
  table: Table,
  embedder: Embedder,
  samples: readonly Sample[],
  onProgress: BuildOptions["onProgress"],
): Promise<{ indexed: number; skipped: Skipped[] }> {
  const { width } = embedder;
  const skipped: Skipped[] = [];
  let rows: Record<string, unknown>[] = [];
  let indexed = 0;

  for (let start = 0; start < samples.length; start += BATCH) {
    const batch = samples.slice(start, start + BATCH);
    const { embeddings, failed } = await embedder.embedPictures(batch.map((s) => s.picture));
    const reasons = new Map(failed.map(({ index, reason }) => [index, reason]));
    for (const [i, { picture, captions }] of batch.entries()) {
      const reason = reasons.get(i);
      if (reason !== undefined) {
        skipped.push({ where: picture, reason });
        continue;
      }
      const vector = embeddings.slice(i * width, (i + 1) * width);
      rows.push({ id: indexed++, picture, captions, vector });
    }
    const done = start + batch.length;
    if (rows.length >= WRITE || (done === samples.length && rows.length > 0)) {
      await table.add(rows);
      rows = [];
    }
    onProgress?.(done, samples.length);
  }
  return { indexed, skipped };
}
