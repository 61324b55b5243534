import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { pixelBaseline } from "./pixels.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "clipsmith-pixels-"));
});
after(() => rm(folder, { recursive: true }));

/** A white picture with a coloured square in it. */
async function square(file: string, left: number, top: number, colour: string): Promise<string> {
  const path = join(folder, file);
  const patch = sharp({ create: { width: 16, height: 16, channels: 3, background: colour } });
  await sharp({ create: { width: 64, height: 64, channels: 3, background: "#ffffff" } })
    .composite([{ input: await patch.png().toBuffer(), left, top }])
    .png()
    .toFile(path);
  return path;
}

test("look-alikes are found both ways, and names may have several pictures", async () => {
  const training = {
    pictures: [
      await square("a.png", 0, 0, "#ff0000"),
      await square("a-other.png", 48, 48, "#000000"),
      await square("b.png", 24, 24, "#00ff00"),
      await square("c.png", 0, 48, "#0000ff"),
      await square("unknown.png", 2, 2, "#ee2020"),
    ],
    names: ["a", "a", "b", "c", "nobody's"],
  };
  const candidates = {
    pictures: [
      await square("c-new.png", 2, 46, "#2020ee"),
      await square("a-new.png", 2, 2, "#ee2020"),
      await square("b-new.png", 26, 26, "#20ee20"),
    ],
    names: ["c", "a", "b"],
  };
  const all = { r1: 1, r5: 1, r10: 1 };
  assert.deepEqual(await pixelBaseline(training, candidates), {
    textToImage: all,
    imageToText: all,
  });
});

test("wrong look-alikes count as misses until they are among the first 5", async () => {
  const places = [0, 16, 32, 48].flatMap((left) => [0, 16].map((top) => [left, top] as const));
  const names = places.map((_, i) => `name ${i}`);
  const pictures = await Promise.all(
    places.map(([left, top], i) => square(`place-${i}.png`, left, top, "#000000")),
  );
  // The first two have changed places; the rest find themselves.
  const swapped = [pictures[1]!, pictures[0]!, ...pictures.slice(2)];
  const { textToImage, imageToText } = await pixelBaseline(
    { pictures, names },
    { pictures: swapped, names },
  );
  assert.equal(textToImage.r1, 6 / 8);
  assert.equal(imageToText.r1, 6 / 8);
  assert.equal(textToImage.r10, 1);
  assert.equal(imageToText.r10, 1);
});
