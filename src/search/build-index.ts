import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Sample, Skipped } from "../data/sample.js";
import type { Embedded } from "../embed/index.js";
import type { Embedder } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import { checkReplaceable, pathsOf, swapIn, TABLE } from "./index-folder.js";
import {
  Binary,
  type Connection,
  connect,
  Field,
  FixedSizeList,
  Float32,
  Index,
  Int32,
  List,
  Schema,
  type Table,
  Utf8,
} from "./lancedb.js";
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

/** What goes into an index: pictures with their embeddings, and what had to be left out. */
export interface IndexBatch extends Embedded {
  readonly skipped?: readonly Skipped[];
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
  const { length } = samples;
  return writeIndex(folder, embedder.width, embedSamples(embedder, samples), (done) =>
    onProgress?.(done, length),
  );
}

/**
 * Writes an index of pictures that are embedded, however they came to be, as {@link buildIndex} does.
 *
 * @param width of the embeddings
 * @param onProgress called after every batch with the number of pictures done, indexed or skipped
 * @throws ClipsmithError when there are no pictures to index, or `folder` holds something else.
 */
export async function writeIndex(
  folder: string,
  width: number,
  batches: AsyncIterable<IndexBatch>,
  onProgress?: (done: number) => void,
): Promise<BuildResult> {
  await checkReplaceable(folder);
  const { current, building } = pathsOf(folder);
  await mkdir(dirname(current), { recursive: true });
  await rm(building, { recursive: true, force: true });
  let connection: Connection | undefined;
  let table: Table | undefined;
  try {
    connection = await connect(building);
    table = await connection.createEmptyTable(TABLE, rowSchema(width));
    const { indexed, skipped } = await fill(table, width, batches, onProgress);
    if (indexed === 0) throw nothingToIndex(skipped);
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

async function* embedSamples(
  embedder: Embedder,
  samples: readonly Sample[],
): AsyncGenerator<IndexBatch> {
  const { width } = embedder;
  for (let start = 0; start < samples.length; start += BATCH) {
    const batch = samples.slice(start, start + BATCH);
    const { embeddings, failed } = await embedder.embedPictures(batch.map((s) => s.picture));
    const reasons = new Map(failed.map(({ index, reason }) => [index, reason]));
    const used = batch.flatMap((sample, i) => (reasons.has(i) ? [] : [{ sample, i }]));
    const vectors = new Float32Array(used.length * width);
    for (const [row, { i }] of used.entries()) {
      vectors.set(embeddings.subarray(i * width, (i + 1) * width), row * width);
    }
    yield {
      samples: used.map(({ sample: { picture, captions } }) => ({
        name: picture,
        path: picture,
        captions,
      })),
      embeddings: vectors,
      skipped: failed.map(({ index, reason }) => ({ where: batch[index]!.picture, reason })),
    };
  }
}

/** The columns of an index of embeddings of `width` numbers. */
function rowSchema(width: number): Schema {
  return new Schema([
    new Field("id", new Int32(), false),
    new Field("picture", new Utf8(), false),
    new Field("captions", new List(new Field("item", new Utf8(), true)), false),
    new Field("thumbnail", new Binary(), true),
    new Field("vector", new FixedSizeList(width, new Field("item", new Float32(), true)), false),
  ]);
}

async function fill(
  table: Table,
  width: number,
  batches: AsyncIterable<IndexBatch>,
  onProgress: ((done: number) => void) | undefined,
): Promise<{ indexed: number; skipped: Skipped[] }> {
  const skipped: Skipped[] = [];
  let rows: Record<string, unknown>[] = [];
  let indexed = 0;
  const write = async () => {
    if (rows.length > 0) await table.add(rows);
    rows = [];
  };
  for await (const { samples, embeddings, skipped: left = [] } of batches) {
    skipped.push(...left);
    for (const [i, { name, path, captions, thumbnail }] of samples.entries()) {
      const vector = embeddings.slice(i * width, (i + 1) * width);
      const picture = path ?? name;
      rows.push({ id: indexed++, picture, captions, thumbnail: thumbnail ?? null, vector });
      if (rows.length >= WRITE) await write();
    }
    onProgress?.(indexed + skipped.length);
  }
  await write();
  return { indexed, skipped };
}

function nothingToIndex(skipped: readonly Skipped[]): ClipsmithError {
  const [first] = skipped;
  return new ClipsmithError(
    first === undefined
      ? "There are no pictures to index."
      : `None of the ${skipped.length} pictures could be read. The first: ${first.where}: ${first.reason}`,
  );
}
