import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sample } from "../data/sample.js";
import type { Embedder, PictureSource } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { evaluate } from "./evaluate.js";

/** A unit vector for a subject: texts and pictures of one subject are nearest to each other. */
function vectorOf(subject: string): Float32Array {
  const stream = random("subject", subject);
  const vector = Float32Array.from({ length: 16 }, () => stream.normal());
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}

/** Knows the subject of "x.png" and "about x"; can't read "broken" pictures. */
class SubjectEmbedder implements Embedder {
  readonly width = 16;
  readonly texts: string[] = [];
  readonly pictures: PictureSource[] = [];
  largestBatch = 0;

  async embedTexts(texts: readonly string[]) {
    this.texts.push(...texts);
    this.largestBatch = Math.max(this.largestBatch, texts.length);
    const rows = new Float32Array(texts.length * this.width);
    for (const [i, text] of texts.entries()) {
      rows.set(vectorOf(text.toLowerCase().replace("about ", "")), i * this.width);
    }
    return rows;
  }

  async embedPictures(pictures: readonly PictureSource[]) {
    this.pictures.push(...pictures);
    this.largestBatch = Math.max(this.largestBatch, pictures.length);
    const embeddings = new Float32Array(pictures.length * this.width);
    const failed = [];
    for (const [index, picture] of pictures.entries()) {
      const subject = String(picture).replace(".png", "");
      if (subject.includes("broken")) failed.push({ index, reason: "no picture" });
      else embeddings.set(vectorOf(subject), index * this.width);
    }
    return { embeddings, failed };
  }
}

test("a perfect model finds everything, in batches", async () => {
  const samples: Sample[] = Array.from({ length: 600 }, (_, i) => ({
    picture: `${i}.png`,
    captions: [`about ${i}`],
  }));
  const embedder = new SubjectEmbedder();
  const result = await evaluate(embedder, samples);
  assert.equal(result.textToImage.r1, 1);
  assert.equal(result.imageToText.r1, 1);
  assert.deepEqual(result.skipped, []);
  assert.equal(embedder.largestBatch, 256);
  assert.equal(embedder.texts.length, 600);
});

test("shared captions have all their pictures, repeated ones count once", async () => {
  const embedder = new SubjectEmbedder();
  const result = await evaluate(embedder, [
    { picture: "cat.png", captions: ["about cat", "about pets"] },
    { picture: "dog.png", captions: ["about dog", "About  PETS"] },
    { picture: "cat.png", captions: ["about cat", "about whiskers"] },
  ]);
  assert.deepEqual(embedder.pictures, ["cat.png", "dog.png"]);
  assert.deepEqual(embedder.texts, ["about cat", "about pets", "about dog", "about whiskers"]);
  assert.equal(result.texts, 4);
  assert.equal(result.pictures, 2);
  // cat, dog and whiskers have one picture of two, pets has both.
  assert.equal(result.textToImage.chance.r1, (3 * 0.5 + 1) / 4);
  assert.equal(result.imageToText.r1, 1);
});

test("only first captions count when asked for", async () => {
  const embedder = new SubjectEmbedder();
  await evaluate(
    embedder,
    [
      { picture: "cat.png", captions: ["about cat", "about pets"] },
      { picture: "dog.png", captions: ["about dog", "about pets"] },
    ],
    { captionsPerPicture: "first" },
  );
  assert.deepEqual(embedder.texts, ["about cat", "about dog"]);
});

test("pictures that can't be read are skipped with their captions", async () => {
  const embedder = new SubjectEmbedder();
  const result = await evaluate(embedder, [
    { picture: "broken1.png", captions: ["about broken1", "about dog"] },
    { picture: "cat.png", captions: ["about cat"] },
    { picture: "dog.png", captions: ["about dog"] },
  ]);
  assert.deepEqual(result.skipped, [{ where: "broken1.png", reason: "no picture" }]);
  assert.deepEqual(embedder.texts, ["about cat", "about dog"]);
  assert.equal(result.pictures, 2);
  assert.equal(result.textToImage.r1, 1);
  assert.equal(result.imageToText.withoutMatch, 0);
});

test("nothing to evaluate is an error that says why", async () => {
  await assert.rejects(
    () => evaluate(new SubjectEmbedder(), [{ picture: "broken.png", captions: ["about x"] }]),
    /None of the 1 pictures.*broken\.png: no picture/,
  );
  await assert.rejects(() => evaluate(new SubjectEmbedder(), []), ClipsmithError);
});
