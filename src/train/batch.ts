import type { Data } from "../graph/index.js";
import type { Identities } from "./identities.js";

/** A batch of B pairs, as arrays. */
export interface Batch {
  /** [B, T] */
  readonly text: Int32Array;
  /** [B, C, H, W] */
  readonly image: Float32Array;
  /** [V B, K] for V views of pictures; present where the model drops patches. */
  readonly patchIndices?: Int32Array;
  /** More views of the texts, as `text`. */
  readonly augText?: readonly Int32Array[];
  /** More views of the pictures, as `image`. */
  readonly augImage?: readonly Float32Array[];
  /** Texts to be guessed at, as `text`; present for masked language modelling. */
  readonly mlm?: { readonly sequence: Int32Array; readonly labels: Int32Array };
  /** Two views of each picture, as `image`, and the patches kept; present for visual self-supervision. */
  readonly ssl?: {
    readonly views: readonly Float32Array[];
    readonly patchIndices?: readonly Int32Array[];
  };
  /** Which pairs are no negatives follows from these; absent: all texts and pictures are different. */
  readonly identities?: Identities;
}

/** The pictures of a batch, or of a range of it. */
export type BatchPictures = Pick<Batch, "image" | "augImage"> & {
  readonly ssl?: Pick<NonNullable<Batch["ssl"]>, "views">;
};

/** A batch whose pictures are not all in memory. */
export interface ChunkedBatch extends Omit<Batch, keyof BatchPictures> {
  readonly ssl?: Omit<NonNullable<Batch["ssl"]>, "views">;
  /** The pictures of a range: the same ones each time it is asked for. */
  pictures(range: Range): Promise<BatchPictures>;
}

/** Pairs [start, end) of a batch. */
export type Range = readonly [start: number, end: number];

/** A batch as one whose pictures are asked for. */
export function inChunks(batch: Batch | ChunkedBatch, batchSize: number): ChunkedBatch {
  if ("pictures" in batch) return batch;
  const { image, augImage, ssl, ...others } = batch;
  const rows = (data: Float32Array, range: Range) => rowsOf(data, batchSize, range) as Float32Array;
  return {
    ...others,
    ...(ssl?.patchIndices && { ssl: { patchIndices: ssl.patchIndices } }),
    pictures: async (range) => ({
      image: rows(image, range),
      ...(augImage && { augImage: augImage.map((view) => rows(view, range)) }),
      ...(ssl && { ssl: { views: ssl.views.map((view) => rows(view, range)) } }),
    }),
  };
}

/** A batch with all its pictures in memory. */
export async function inMemory(batch: Batch | ChunkedBatch, batchSize: number): Promise<Batch> {
  if (!("pictures" in batch)) return batch;
  const { pictures, ...others } = batch;
  return withPictures(others, await pictures([0, batchSize]));
}

/** A batch of its pictures and of what else there is. */
export function withPictures(
  { ssl: kept, ...others }: Omit<ChunkedBatch, "pictures">,
  { ssl, ...images }: BatchPictures,
): Batch {
  return { ...others, ...images, ...(ssl && { ssl: { ...kept, ...ssl } }) };
}

/** A batch's arrays by the names of {@link CLIP.inputs}: `ssl.views.0` for the first of `ssl.views`. */
export function batchFeeds({
  identities,
  ...batch
}: Partial<Batch> | Partial<Omit<ChunkedBatch, "pictures">>): Record<string, Data> {
  const feeds: Record<string, Data> = {};
  const collect = (name: string, value: unknown): void => {
    if (ArrayBuffer.isView(value)) feeds[name] = value as Data;
    else if (typeof value === "object" && value !== null) {
      for (const [key, part] of Object.entries(value)) collect(`${name}.${key}`, part);
    }
  };
  for (const [name, value] of Object.entries(batch)) collect(name, value);
  return feeds;
}

/** As few ranges as can be of at most `chunkSize` pairs; their sizes differ by one at most. */
export function evenChunks(batchSize: number, chunkSize: number): Range[] {
  const count = Math.ceil(batchSize / chunkSize);
  return Array.from({ length: count }, (_, i) => evenPart(batchSize, i, count));
}

/** One of so many parts of so many things; their sizes differ by one at most. */
export function evenPart(things: number, part: number, parts: number): Range {
  const bound = (i: number) => Math.floor((i * things) / parts);
  return [bound(part), bound(part + 1)];
}

/**
 * What a range of a batch of B pairs feeds, of what all of it feeds: its rows of each array [B, ...], and
 * of `patchIndices` [V B, K] its rows of each view.
 */
export function chunkFeeds(
  feeds: Readonly<Record<string, Data>>,
  batchSize: number,
  range: Range,
  imageViews: number,
): Record<string, Data> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, data]) => [
      name,
      name === "patchIndices"
        ? rowsOfViews(data as Int32Array, batchSize, range, imageViews)
        : rowsOf(data, batchSize, range),
    ]),
  );
}

/** A view of rows [start, end) of an array of so many rows. */
export function rowsOf(data: Data, rows: number, [start, end]: Range): Data {
  const width = data.length / rows;
  return data.subarray(start * width, end * width);
}

function rowsOfViews(data: Int32Array, batchSize: number, range: Range, views: number): Int32Array {
  const all = data.length / views;
  const parts = Array.from({ length: views }, (_, view) =>
    rowsOf(data.subarray(view * all, (view + 1) * all), batchSize, range),
  );
  const rows = new Int32Array(views * parts[0]!.length);
  for (const [view, part] of parts.entries()) rows.set(part as Int32Array, view * part.length);
  return rows;
}
