import type { Sample, Skipped } from "../data/sample.js";
import type { Embedder } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import { type RetrievalResult, retrieval } from "./recall.js";

/** Texts or pictures embedded at a time. */
const BATCH = 256;

export interface EvaluateOptions {
  /** Take each picture's first caption, or all of them (the default). */
  readonly captionsPerPicture?: "first" | "all";
}

export interface Evaluation extends RetrievalResult {
  /** Pictures that could not be read; captions that only they had are left out too. */
  readonly skipped: readonly Skipped[];
}

/** Captions that differ in letter case and spacing only are the same caption. */
export function canonical(caption: string): string {
  return caption.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();
}

/**
 * Retrieval recall of a model on pictures with captions. Every distinct picture and every distinct
 * caption counts once; a caption that several pictures share has them all as right answers.
 *
 * @throws ClipsmithError when no picture could be read
 */
export async function evaluate(
  embedder: Embedder,
  samples: readonly Sample[],
  { captionsPerPicture = "all" }: EvaluateOptions = {},
): Promise<Evaluation> {
  const { width } = embedder;
  const paths = [...new Set(samples.map((sample) => sample.picture))];
  const pictures = new Float32Array(paths.length * width); // [M, L], rows of skipped pictures left out
  const places = new Map<string, number>();
  const skipped: Skipped[] = [];
  for (let start = 0; start < paths.length; start += BATCH) {
    const batch = paths.slice(start, start + BATCH);
    const { embeddings, failed } = await embedder.embedPictures(batch);
    const reasons = new Map(failed.map(({ index, reason }) => [index, reason]));
    for (const [index, path] of batch.entries()) {
      const reason = reasons.get(index);
      if (reason !== undefined) {
        skipped.push({ where: path, reason });
        continue;
      }
      pictures.set(embeddings.subarray(index * width, (index + 1) * width), places.size * width);
      places.set(path, places.size);
    }
  }
  if (places.size === 0) {
    const [first] = skipped;
    throw new ClipsmithError(
      first === undefined
        ? "There are no pictures to evaluate."
        : `None of the ${skipped.length} pictures could be read. The first is ${first.where}: ${first.reason}`,
    );
  }

  const captions: string[] = [];
  const positives: Set<number>[] = [];
  const texts = new Map<string, number>();
  for (const sample of samples) {
    const place = places.get(sample.picture);
    if (place === undefined) continue;
    const taken = captionsPerPicture === "first" ? sample.captions.slice(0, 1) : sample.captions;
    for (const caption of taken) {
      const key = canonical(caption);
      let text = texts.get(key);
      if (text === undefined) {
        text = captions.length;
        texts.set(key, text);
        captions.push(caption);
        positives.push(new Set());
      }
      positives[text]!.add(place);
    }
  }
  const embeddings = new Float32Array(captions.length * width); // [N, L]
  for (let start = 0; start < captions.length; start += BATCH) {
    embeddings.set(await embedder.embedTexts(captions.slice(start, start + BATCH)), start * width);
  }
  const result = retrieval({
    texts: embeddings,
    pictures: pictures.subarray(0, places.size * width),
    width,
    positives: (text) => positives[text]!,
  });
  return { ...result, skipped };
}
