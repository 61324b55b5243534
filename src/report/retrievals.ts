import sharp from "sharp";
import { type DecodeOptions, decodePicture, type SampleSource } from "../data/index.js";
import { canonical } from "../eval/evaluate.js";
import type { Embedder, PictureSource } from "../model/index.js";
import type { Retrievals } from "./data.js";
import { drawSamples } from "./draw-samples.js";

/** How pictures are shown: as the model sees them. */
type Look = Pick<DecodeOptions, "fit" | "background">;

export interface RetrievalOptions extends Look {
  /** What training did with the samples, which the report says. */
  readonly use: Retrievals["use"];
  /** Take only samples that training held out: this part of the source. */
  readonly heldOut?: number;
}

/** So many pictures are searched at most: enough to be no easy game, few enough to take seconds. */
const POOL = 256;
/** Captions that pictures are shown for, and pictures that captions are shown for. */
const QUERIES = 6;
const PICTURES = 5;
const CAPTIONS = 4;

/**
 * What a model finds among some samples of a source: pictures for a few captions, and captions for a few
 * pictures, drawn at random but always the same ones. Undefined where no two pictures can be read.
 */
export async function findRetrievals(
  embedder: Embedder,
  source: SampleSource,
  { use, heldOut, ...look }: RetrievalOptions,
): Promise<Retrievals | undefined> {
  const pool = await drawSamples(source, POOL, heldOut);
  const { embeddings, failed } = await embedder.embedPictures(pool.map(({ picture }) => picture));
  const unreadable = new Set(failed.map(({ index }) => index));
  const pictures = pool
    .map(({ picture, captions }, row) => ({
      picture,
      captions,
      keys: new Set(captions.map(canonical)),
      vector: rowOf(embeddings, row, embedder.width),
    }))
    .filter((_, row) => !unreadable.has(row));
  if (pictures.length < 2) return undefined;
  // The first caption of each picture, none of them twice.
  const distinct = new Map(pictures.map(({ captions: [text] }) => [canonical(text!), text!]));
  const texts = await embedder.embedTexts([...distinct.values()]);
  const captions = Array.from(distinct, ([key, text], row) => ({
    key,
    text,
    vector: rowOf(texts, row, embedder.width),
  }));

  const shown = new Thumbnails(look);
  const byText = captions.slice(0, QUERIES).map(({ key, text, vector }) => ({
    text,
    matches: nearest(vector, pictures, PICTURES).map(({ item: { picture, keys }, score }) => ({
      picture: shown.place(picture),
      score,
      right: keys.has(key),
    })),
  }));
  const byPicture = pictures.slice(-QUERIES).map(({ picture, keys, vector }) => ({
    picture: shown.place(picture),
    matches: nearest(vector, captions, CAPTIONS).map(({ item: { key, text }, score }) => ({
      text,
      score,
      right: keys.has(key),
    })),
  }));
  return {
    from: source.name,
    use,
    pictures: pictures.length,
    captions: captions.length,
    thumbnails: await shown.draw(),
    byText,
    byPicture,
  };
}

function rowOf(matrix: Float32Array, row: number, width: number): Float32Array {
  return matrix.subarray(row * width, (row + 1) * width);
}

/** The `count` items whose vectors are nearest by dot product, the nearest first. */
function nearest<T extends { readonly vector: Float32Array }>(
  query: Float32Array,
  items: readonly T[],
  count: number,
): { item: T; score: number }[] {
  return items
    .map((item) => ({ item, score: query.reduce((sum, x, i) => sum + x * item.vector[i]!, 0) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, count);
}

/** Small JPEGs of pictures, each picture once. */
class Thumbnails {
  readonly #look: Look;
  readonly #places = new Map<PictureSource, number>();

  constructor(look: Look) {
    this.#look = look;
  }

  /** Where a picture stands among those that {@link draw} draws. */
  place(picture: PictureSource): number {
    const place = this.#places.get(picture) ?? this.#places.size;
    this.#places.set(picture, place);
    return place;
  }

  /** As data URLs. */
  async draw(): Promise<string[]> {
    const urls: string[] = [];
    for (const picture of this.#places.keys()) {
      // Twice what the page gives them, for sharp screens.
      const size = 176;
      const pixels = await decodePicture(picture, { ...this.#look, size, channels: 3 });
      const raw = { width: size, height: size, channels: 3 } as const;
      const jpeg = await sharp(pixels, { raw }).jpeg({ quality: 70 }).toBuffer();
      urls.push(`data:image/jpeg;base64,${jpeg.toString("base64")}`);
    }
    return urls;
  }
}
