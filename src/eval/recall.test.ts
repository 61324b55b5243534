import assert from "node:assert/strict";
import { test } from "node:test";
import { ClipsmithError } from "../util/errors.js";
import { type Random, random } from "../util/random.js";
import { chanceOfHit, type RetrievalInput, retrieval } from "./recall.js";

interface Direction {
  hits: Record<"r1" | "r5" | "r10", number>;
  ranks: number[];
}

/** Sorts all candidates of each query, wrong before right among equals, and looks. */
function bruteForce(
  queries: number,
  candidates: number,
  score: (query: number, candidate: number) => number,
  right: (query: number, candidate: number) => boolean,
): Direction {
  const ranks: number[] = [];
  for (let query = 0; query < queries; query++) {
    const order = Array.from({ length: candidates }, (_, candidate) => candidate).sort(
      (a, b) =>
        score(query, b) - score(query, a) || Number(right(query, a)) - Number(right(query, b)),
    );
    const place = order.findIndex((candidate) => right(query, candidate));
    if (place >= 0) ranks.push(place + 1);
  }
  const hit = (k: number) => ranks.filter((rank) => rank <= k).length / ranks.length;
  return { hits: { r1: hit(1), r5: hit(5), r10: hit(10) }, ranks };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Whole numbers, so that there are many ties and sums are exact. */
function wholeNumbers(stream: Random, count: number): Float32Array {
  return Float32Array.from({ length: count }, () => stream.integer(5) - 2);
}

test("recall and ranks agree with sorting everything, with ties and several positives", () => {
  for (let trial = 0; trial < 20; trial++) {
    const stream = random("recall", trial);
    const texts = 5 + stream.integer(90);
    const pictures = 5 + stream.integer(150);
    const width = 1 + stream.integer(6);
    const textRows = wholeNumbers(stream, texts * width);
    const pictureRows = wholeNumbers(stream, pictures * width);
    const positives = Array.from({ length: texts }, () =>
      Array.from({ length: stream.integer(4) }, () => stream.integer(pictures)),
    );
    positives[0] = [0];
    const result = retrieval({
      texts: textRows,
      pictures: pictureRows,
      width,
      positives: (text) => positives[text]!,
    });
    const score = (text: number, picture: number) => {
      let sum = 0;
      for (let i = 0; i < width; i++) {
        sum += textRows[text * width + i]! * pictureRows[picture * width + i]!;
      }
      return sum;
    };
    const right = (text: number, picture: number) => positives[text]!.includes(picture);
    const directions = [
      [result.textToImage, bruteForce(texts, pictures, score, right), texts],
      [
        result.imageToText,
        bruteForce(
          pictures,
          texts,
          (picture, text) => score(text, picture),
          (picture, text) => right(text, picture),
        ),
        pictures,
      ],
    ] as const;
    for (const [{ r1, r5, r10, medianRank, withoutMatch }, expected, queries] of directions) {
      assert.deepEqual({ r1, r5, r10 }, expected.hits);
      assert.equal(medianRank, median(expected.ranks));
      assert.equal(withoutMatch, queries - expected.ranks.length);
    }
    assert.equal(result.texts, texts);
    assert.equal(result.pictures, pictures);
  }
});

test("real-valued rows that match themselves are all found", () => {
  const stream = random("self");
  const [count, width] = [203, 33];
  const rows = Float32Array.from({ length: count * width }, () => stream.normal());
  for (let row = 0; row < count; row++) {
    const view = rows.subarray(row * width, (row + 1) * width);
    const norm = Math.hypot(...view);
    for (let i = 0; i < width; i++) view[i]! /= norm;
  }
  const { textToImage, imageToText } = retrieval({
    texts: rows,
    pictures: rows,
    width,
    positives: (text) => [text],
  });
  assert.equal(textToImage.r1, 1);
  assert.equal(imageToText.r1, 1);
  assert.equal(textToImage.medianRank, 1);
});

function constantRows(value: number): RetrievalInput {
  return {
    texts: new Float32Array(60).fill(value),
    pictures: new Float32Array(60).fill(value),
    width: 3,
    positives: (text) => [text],
  };
}

test("a model that gives everything the same vector scores nothing", () => {
  for (const value of [0, 1, Number.NaN]) {
    const { textToImage, imageToText } = retrieval(constantRows(value));
    for (const { r1, r5, r10, medianRank } of [textToImage, imageToText]) {
      assert.deepEqual({ r1, r5, r10, medianRank }, { r1: 0, r5: 0, r10: 0, medianRank: 20 });
    }
  }
});

test("one row that is not a number never helps", () => {
  const input = constantRows(0);
  for (let row = 0; row < 20; row++) input.texts[row * 3] = input.pictures[row * 3] = row - 10;
  input.texts[0] = Number.NaN;
  const { textToImage, imageToText } = retrieval(input);
  // Only the last text and picture are nearest to each other, but the broken text is in the way.
  assert.equal(textToImage.r1, 1 / 20);
  assert.equal(imageToText.r1, 0);
});

test("chance is that of drawing without putting back", () => {
  const stream = random("chance");
  for (const [candidates, right, k] of [
    [20, 1, 5],
    [20, 4, 5],
    [12, 8, 5],
    [6, 2, 10],
    [300, 5, 10],
  ] as const) {
    const draws = 20_000;
    let hits = 0;
    for (let draw = 0; draw < draws; draw++) {
      if (
        stream
          .permutation(candidates)
          .subarray(0, k)
          .some((item) => item < right)
      )
        hits++;
    }
    const chance = chanceOfHit(candidates, right, k);
    assert.ok(Math.abs(chance - hits / draws) < 0.015, `${candidates} ${right} ${k}: ${chance}`);
  }
  assert.equal(chanceOfHit(10, 1, 10), 1);
  assert.equal(chanceOfHit(10, 8, 5), 1);
});

test("chance is the mean over the queries that count", () => {
  const { textToImage, imageToText } = retrieval({
    texts: new Float32Array(3),
    pictures: new Float32Array(4),
    width: 1,
    positives: (text) => [[0], [1, 2], []][text]!,
  });
  const near = (actual: number, expected: number) =>
    assert.ok(Math.abs(actual - expected) < 1e-12, `${actual}, not ${expected}`);
  near(textToImage.chance.r1, (1 / 4 + 2 / 4) / 2);
  near(textToImage.chance.r5, 1);
  near(imageToText.chance.r1, 1 / 3);
  assert.equal(textToImage.withoutMatch, 1);
  assert.equal(imageToText.withoutMatch, 1);
});

test("bad input is refused", () => {
  const input = constantRows(0);
  assert.throws(() => retrieval({ ...input, positives: () => [] }), ClipsmithError);
  assert.throws(() => retrieval({ ...input, positives: () => [20] }), RangeError);
  assert.throws(() => retrieval({ ...input, width: 7 }), RangeError);
});
