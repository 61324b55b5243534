import { ClipsmithError } from "../util/errors.js";

/** Recall at 1, 5 and 10, as fractions. */
export interface Recall {
  readonly r1: number;
  readonly r5: number;
  readonly r10: number;
}

/** How well queries of one kind find their matches of the other kind. */
export interface Retrieval extends Recall {
  /** Median of the rank of a query's nearest match; 1 is best. */
  readonly medianRank: number;
  /** The recall that ranking at random would have on average. */
  readonly chance: Recall;
  /** Queries without a match, which no figure counts. */
  readonly withoutMatch: number;
}

export interface RetrievalResult {
  readonly textToImage: Retrieval;
  readonly imageToText: Retrieval;
  /** Number of texts and of pictures, those without a match included: they are candidates too. */
  readonly texts: number;
  readonly pictures: number;
}

export interface RetrievalInput {
  /** [N, L], row-major. */
  readonly texts: Float32Array;
  /** [M, L], row-major. */
  readonly pictures: Float32Array;
  /** L. */
  readonly width: number;
  /** The indices of the pictures that are right answers for a text; asked once for each text. */
  readonly positives: (text: number) => Iterable<number>;
}

/** Rows of a block that stays in the processor's cache while all rows of the other side pass. */
const BLOCK = 64;

/** Dot product of one row with one row. */
function dot(a: Float32Array, i: number, b: Float32Array, j: number, width: number): number {
  let sum = 0;
  for (let x = i * width, y = j * width, end = x + width; x < end; x++, y++) sum += a[x]! * b[y]!;
  return sum;
}

/**
 * Calls `visit` with every score of a text with a picture. Four sums at a time keep the processor
 * busy; each is added up in the order of {@link dot}, so that the same pair has the same score to the
 * last bit.
 */
function forEachScore(
  { texts, pictures, width }: RetrievalInput,
  visit: (text: number, picture: number, score: number) => void,
): void {
  const textCount = texts.length / width;
  const pictureCount = pictures.length / width;
  for (let start = 0; start < pictureCount; start += BLOCK) {
    const end = Math.min(start + BLOCK, pictureCount);
    for (let text = 0; text < textCount; text++) {
      let picture = start;
      for (; picture + 4 <= end; picture += 4) {
        let a = 0;
        let b = 0;
        let c = 0;
        let d = 0;
        const row = text * width;
        const column = picture * width;
        for (let i = 0; i < width; i++) {
          const value = texts[row + i]!;
          a += value * pictures[column + i]!;
          b += value * pictures[column + width + i]!;
          c += value * pictures[column + 2 * width + i]!;
          d += value * pictures[column + 3 * width + i]!;
        }
        visit(text, picture, a);
        visit(text, picture + 1, b);
        visit(text, picture + 2, c);
        visit(text, picture + 3, d);
      }
      for (; picture < end; picture++) {
        visit(text, picture, dot(texts, text, pictures, picture, width));
      }
    }
  }
}

/** The probability that at least one of `right` right ones is among `k` of `candidates` drawn. */
export function chanceOfHit(candidates: number, right: number, k: number): number {
  let miss = 1;
  for (let i = 0; i < Math.min(k, candidates); i++) {
    miss *= Math.max(candidates - right - i, 0) / (candidates - i);
  }
  return 1 - miss;
}

/** The figures of one kind of queries from the rank of each one's nearest match. */
function summarize(ranks: Float64Array, matches: Int32Array, candidates: number): Retrieval {
  const counted = ranks.filter((_, query) => matches[query]! > 0).sort();
  const middle = counted.length / 2;
  const recall = (k: number) => counted.filter((rank) => rank <= k).length / counted.length;
  const chance = (k: number) => {
    // Most queries have equally many matches.
    const known = new Map<number, number>();
    let sum = 0;
    for (const count of matches) {
      if (count === 0) continue;
      let hit = known.get(count);
      if (hit === undefined) {
        hit = chanceOfHit(candidates, count, k);
        known.set(count, hit);
      }
      sum += hit;
    }
    return sum / counted.length;
  };
  return {
    r1: recall(1),
    r5: recall(5),
    r10: recall(10),
    medianRank: (counted[Math.ceil(middle) - 1]! + counted[Math.floor(middle)]!) / 2,
    chance: { r1: chance(1), r5: chance(5), r10: chance(10) },
    withoutMatch: ranks.length - counted.length,
  };
}

/**
 * Recall at k of texts for pictures and of pictures for texts. A query is a hit when any of its right
 * answers is among the k nearest by dot product, as CLIP_benchmark counts it. A wrong answer as near
 * as the best right one goes before it, so a model that gives everything the same vector scores
 * nothing; scores that are not numbers count as the worst for the right and the best for the wrong.
 *
 * The scores are never all in memory: it needs a few numbers for each text, picture and right answer.
 *
 * @throws ClipsmithError when no text has a right answer
 */
export function retrieval(input: RetrievalInput): RetrievalResult {
  const { texts, pictures, width, positives } = input;
  const textCount = texts.length / width;
  const pictureCount = pictures.length / width;
  if (!Number.isInteger(textCount) || !Number.isInteger(pictureCount)) {
    throw new RangeError(
      `texts and pictures must be rows of ${width} numbers; got ${texts.length} and ${pictures.length} numbers.`,
    );
  }

  const textMatches = new Int32Array(textCount);
  const pictureMatches = new Int32Array(pictureCount);
  const textBest = new Float64Array(textCount).fill(Number.NEGATIVE_INFINITY);
  const pictureBest = new Float64Array(pictureCount).fill(Number.NEGATIVE_INFINITY);
  const pairs: { text: number; picture: number; score: number }[] = [];
  for (let text = 0; text < textCount; text++) {
    for (const picture of new Set(positives(text))) {
      if (!Number.isInteger(picture) || picture < 0 || picture >= pictureCount) {
        throw new RangeError(`Text ${text} has picture ${picture} of ${pictureCount} as positive.`);
      }
      const score = dot(texts, text, pictures, picture, width);
      pairs.push({ text, picture, score });
      textMatches[text]!++;
      pictureMatches[picture]!++;
      if (score > textBest[text]!) textBest[text] = score;
      if (score > pictureBest[picture]!) pictureBest[picture] = score;
    }
  }
  if (pairs.length === 0) {
    throw new ClipsmithError("Recall needs at least one text with a picture that matches it.");
  }

  // 1 + the wrong answers that are not farther than the best right one: all that are not, less the
  // right ones among them. `!(a < b)` is also true where either is not a number.
  const textRanks = new Float64Array(textCount).fill(1);
  const pictureRanks = new Float64Array(pictureCount).fill(1);
  forEachScore(input, (text, picture, score) => {
    if (!(score < textBest[text]!)) textRanks[text]!++;
    if (!(score < pictureBest[picture]!)) pictureRanks[picture]!++;
  });
  for (const { text, picture, score } of pairs) {
    if (!(score < textBest[text]!)) textRanks[text]!--;
    if (!(score < pictureBest[picture]!)) pictureRanks[picture]!--;
  }
  return {
    textToImage: summarize(textRanks, textMatches, pictureCount),
    imageToText: summarize(pictureRanks, pictureMatches, textCount),
    texts: textCount,
    pictures: pictureCount,
  };
}
