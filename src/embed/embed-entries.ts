import { mapAhead } from "../data/concurrent.js";
import {
  type LoadedPictures,
  PictureLoader,
  type SampleSource,
  type Skipped,
} from "../data/index.js";
import { type Model, pictureFormat } from "../model/index.js";
import type { EmbedOptions } from "./options.js";
import {
  BEGINNING,
  type PlacedEntry,
  type Position,
  portionsOf,
  readPortions,
} from "./portions.js";

/** A sample as what was embedded remembers it. */
export interface EmbeddedSample {
  /** Where it came from: a file's path, or `shard.tar/key`. */
  readonly name: string;
  /** Path of the picture's file, if it has one of its own. */
  readonly path?: string;
  readonly captions: readonly string[];
  /** A small copy, WebP: of pictures without a file of their own, if any are kept. */
  readonly thumbnail?: Uint8Array;
}

/** Samples, and where the model puts them. */
export interface Embedded {
  readonly samples: readonly EmbeddedSample[];
  /** [N, L], each row of length 1. */
  readonly embeddings: Float32Array;
  /** [M, L] of all captions, sample after sample, if texts are embedded. */
  readonly texts?: Float32Array;
}

/** What becomes of some entries of a part, next to each other. */
export interface EmbeddedBatch extends Embedded {
  readonly skipped: readonly Skipped[];
  /** Where the part goes on after it. */
  readonly next: Position;
  /** How long the model waited for the pictures. */
  readonly waitSeconds: number;
}

export type EmbedEntriesOptions = Pick<
  EmbedOptions,
  "batchSize" | "workers" | "texts" | "thumbnailSize"
>;

/** A batch of large pictures has fewer of them. */
const MAX_BATCH_BYTES = 2 ** 27;
/** Threads that there are by default, at most. */
const DEFAULT_WORKERS = 4;

/**
 * Embeds entries in their order, their pictures decoded ahead of need. No batch is empty but for what is
 * skipped.
 */
export async function* embedEntries(
  model: Model,
  entries: AsyncIterable<PlacedEntry>,
  { batchSize, workers, texts, thumbnailSize }: EmbedEntriesOptions,
): AsyncGenerator<EmbeddedBatch> {
  const loader = new PictureLoader({
    ...pictureFormat(model.config),
    workers,
    cacheBytes: 0,
    ...(thumbnailSize > 0 && { thumbnailSize }),
  });
  const load = async (batch: readonly PlacedEntry[]) => {
    const samples = batch.flatMap(({ entry }) => ("reason" in entry ? [] : [entry]));
    const loaded = await loader.load(samples.map(({ picture }) => ({ picture })));
    // The pictures' bytes are needed no more.
    return { batch: batch.map(withoutPicture), loaded };
  };
  // A batch for each thread, and one that is ready.
  const batches = mapAhead(inBatches(entries, batchSize), (workers || DEFAULT_WORKERS) + 1, load);
  let asked = performance.now();
  try {
    for await (const { batch, loaded } of batches) {
      const waitSeconds = (performance.now() - asked) / 1000;
      const { samples, skipped } = sortOut(batch, loaded);
      const embeddings = await model.embedPixels(pixelsOfUsed(loaded));
      const captions = samples.flatMap((sample) => sample.captions);
      yield {
        samples,
        embeddings,
        ...(texts && { texts: await model.embedTexts(captions) }),
        skipped,
        next: batch.at(-1)!.next,
        waitSeconds,
      };
      asked = performance.now();
    }
  } finally {
    await loader.close();
  }
}

/** Embeds all of some sources, in their order. */
export function embedSources(
  model: Model,
  sources: readonly SampleSource[],
  options: EmbedEntriesOptions,
): AsyncGenerator<EmbeddedBatch> {
  const portions = portionsOf(sources, { index: 0, count: 1 });
  return embedEntries(model, readPortions(portions, BEGINNING), options);
}

/** An entry whose picture's bytes are given up. */
interface RememberedEntry {
  readonly entry: EmbeddedSample | Skipped;
  readonly next: Position;
}

function withoutPicture({ entry, next }: PlacedEntry): RememberedEntry {
  if ("reason" in entry) return { entry, next };
  const { name, picture, captions } = entry;
  const path = typeof picture === "string" ? { path: picture } : {};
  return { entry: { name, ...path, captions }, next };
}

/** Neighbouring entries, with `size` samples among them. */
async function* inBatches(
  entries: AsyncIterable<PlacedEntry>,
  size: number,
): AsyncGenerator<PlacedEntry[]> {
  let batch: PlacedEntry[] = [];
  let samples = 0;
  let bytes = 0;
  for await (const placed of entries) {
    batch.push(placed);
    const { entry } = placed;
    if ("reason" in entry) continue;
    samples++;
    if (typeof entry.picture !== "string") bytes += entry.picture.length;
    if (samples < size && bytes < MAX_BATCH_BYTES) continue;
    yield batch;
    batch = [];
    samples = 0;
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

/** The samples whose pictures were decoded, and all else with its reason. */
function sortOut(
  batch: readonly RememberedEntry[],
  { failed, thumbnails }: LoadedPictures,
): { samples: EmbeddedSample[]; skipped: Skipped[] } {
  const reasons = new Map(failed.map(({ index, reason }) => [index, reason]));
  const samples: EmbeddedSample[] = [];
  const skipped: Skipped[] = [];
  let row = 0;
  for (const { entry } of batch) {
    if ("reason" in entry) {
      skipped.push(entry);
      continue;
    }
    const reason = reasons.get(row);
    const thumbnail = thumbnails.get(row);
    row++;
    if (reason === undefined) samples.push({ ...entry, ...(thumbnail && { thumbnail }) });
    else skipped.push({ where: entry.name, reason });
  }
  return { samples, skipped };
}

/** The pixels without those of pictures that failed. */
function pixelsOfUsed({ pixels, fingerprints, failed }: LoadedPictures): Float32Array {
  if (failed.length === 0) return pixels;
  const length = pixels.length / fingerprints.length;
  const bad = new Set(failed.map(({ index }) => index));
  let used = 0;
  for (let row = 0; row < fingerprints.length; row++) {
    if (bad.has(row)) continue;
    pixels.copyWithin(used * length, row * length, (row + 1) * length);
    used++;
  }
  return pixels.subarray(0, used * length);
}
