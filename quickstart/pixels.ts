/** What a search that knows no more than pixels can do: the baseline that a trained model has to beat. */
import sharp from "sharp";
import type { Recall } from "../src/eval/index.js";

/** Pictures' paths and, aligned with them, what each shows. */
export interface NamedPictures {
  readonly pictures: readonly string[];
  readonly names: readonly string[];
}

/** Width and height to which pictures are shrunk, as in "80 million tiny images" but coarser. */
const SIDE = 16;
const VALUES = SIDE * SIDE * 3;

/**
 * Nearest neighbours by pixels. A name stands for the training pictures that have it, and its
 * similarity to a candidate is that of the most similar one; a training picture whose name no candidate
 * has is left out. Text to image ranks the candidates for each name, image to text the names for each
 * candidate. A tie counts as won.
 *
 * Similarity is the cosine of 16 x 16 RGB pictures less their own mean (brightness) and less the mean
 * training picture (a blob in the middle of white). On the emoji this was the best of seven: each of
 * the two means alone came next, plain Euclidean distance last.
 *
 * @param candidates no name twice, and each among the training names.
 */
export async function pixelBaseline(
  training: NamedPictures,
  candidates: NamedPictures,
): Promise<{ textToImage: Recall; imageToText: Recall }> {
  const queries = await Promise.all(training.pictures.map(readTiny));
  const targets = await Promise.all(candidates.pictures.map(readTiny));
  const mean = new Float32Array(VALUES);
  for (const query of queries) {
    for (let i = 0; i < VALUES; i++) mean[i]! += query[i]! / queries.length;
  }
  for (const picture of [...queries, ...targets]) normalize(picture, mean);

  const count = targets.length;
  const rowOfName = new Map(candidates.names.map((name, row) => [name, row]));
  const scores = new Float32Array(count * count).fill(-Infinity); // [names, candidates]
  for (const [i, query] of queries.entries()) {
    const row = rowOfName.get(training.names[i]!);
    if (row === undefined) continue;
    raiseScores(scores.subarray(row * count, (row + 1) * count), query, targets);
  }
  return {
    textToImage: recall(count, (name, candidate) => scores[name * count + candidate]!),
    imageToText: recall(count, (candidate, name) => scores[name * count + candidate]!),
  };
}

/** A picture as 16 x 16 x 3 values, less their mean. */
async function readTiny(path: string): Promise<Float32Array> {
  const pixels = await sharp(path)
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb")
    .resize(SIDE, SIDE, { fit: "fill" })
    .raw()
    .toBuffer();
  const values = Float32Array.from(pixels);
  const mean = values.reduce((sum, value) => sum + value, 0) / VALUES;
  return values.map((value) => value - mean);
}

/** Subtracts `mean` from `values` and scales them to length 1, in place. */
function normalize(values: Float32Array, mean: Float32Array): void {
  for (let i = 0; i < VALUES; i++) values[i]! -= mean[i]!;
  const length = Math.sqrt(dot(values, values)) || 1;
  for (let i = 0; i < VALUES; i++) values[i]! /= length;
}

/** Raises each target's score to its similarity with the query where that is higher. */
function raiseScores(
  scores: Float32Array,
  query: Float32Array,
  targets: readonly Float32Array[],
): void {
  for (let i = 0; i < scores.length; i++) {
    const similarity = dot(query, targets[i]!);
    if (similarity > scores[i]!) scores[i] = similarity;
  }
}

function dot(a: Float32Array, b: Float32Array): number {
  // Four sums, since each addition would wait for the one before it: more than twice as fast.
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let i = 0; i < VALUES; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  return s0 + s1 + s2 + s3;
}

/** Recall of `count` queries over as many answers, where query i's right answer is i. */
function recall(count: number, score: (query: number, answer: number) => number): Recall {
  const hits = { r1: 0, r5: 0, r10: 0 };
  for (let query = 0; query < count; query++) {
    const right = score(query, query);
    let better = 0;
    for (let answer = 0; answer < count; answer++) if (score(query, answer) > right) better++;
    if (better < 1) hits.r1++;
    if (better < 5) hits.r5++;
    if (better < 10) hits.r10++;
  }
  return { r1: hits.r1 / count, r5: hits.r5 / count, r10: hits.r10 / count };
}
