import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { ClipsmithError } from "../util/errors.js";
import { type DecodeOptions, decodePicture } from "./picture.js";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-picture-"));
});
after(() => rm(root, { recursive: true, force: true }));

const RED = [255, 0, 0] as const;
const BLUE = [0, 0, 255] as const;

/** A picture whose left half is red and right half blue. */
function halves(width: number, height: number) {
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) pixels.set(i % width < width / 2 ? RED : BLUE, i * 3);
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

async function decode(source: string | Uint8Array, options: Partial<DecodeOptions> = {}) {
  const { size = 8, channels = 3 } = options;
  const pixels = await decodePicture(source, { size, channels, ...options });
  assert.equal(pixels.length, size * size * channels);
  return (x: number, y: number) => [
    ...pixels.subarray((y * size + x) * channels).slice(0, channels),
  ];
}

function near(actual: readonly number[], expected: readonly number[], tolerance = 3) {
  const close = actual.every((v, i) => Math.abs(v - expected[i]!) <= tolerance);
  assert.ok(close && actual.length === expected.length, `${actual} is not near ${expected}`);
}

async function failure(source: string | Uint8Array): Promise<string> {
  const error = await decodePicture(source, { size: 8, channels: 3 }).catch((e: unknown) => e);
  assert.ok(error instanceof ClipsmithError, String(error));
  return error.message;
}

test("a picture of the right size is kept as it is, from a path or bytes", async () => {
  const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => (i * 37) % 256);
  const png = await sharp(pixels, { raw: { width: 8, height: 8, channels: 3 } })
    .png()
    .toBuffer();
  const path = join(root, "été 猫.png");
  await writeFile(path, png);
  const options = { size: 8, channels: 3 } as const;
  assert.deepEqual([...(await decodePicture(path, options))], [...pixels]);
  assert.deepEqual([...(await decodePicture(png, options))], [...pixels]);
});

test("cover cuts the centre out of the longer side", async () => {
  // Bars of red, green, blue, each a square: the green one is the centre.
  const bars = new Uint8Array(24 * 8 * 3);
  for (let i = 0; i < 24 * 8; i++) bars[i * 3 + Math.floor((i % 24) / 8)] = 255;
  const at = await decode(
    await sharp(bars, { raw: { width: 24, height: 8, channels: 3 } })
      .png()
      .toBuffer(),
  );
  for (const x of [0, 3, 7]) near(at(x, 4), [0, 255, 0]);
});

test("contain keeps all of the picture and fills the rest with the background", async () => {
  const wide = await halves(32, 16).png().toBuffer();
  const at = await decode(wide, { fit: "contain" });
  near(at(4, 0), [255, 255, 255]);
  near(at(4, 7), [255, 255, 255]);
  near(at(0, 4), RED);
  near(at(7, 4), BLUE);
  near((await decode(wide, { fit: "contain", background: [0, 128, 64] }))(4, 0), [0, 128, 64]);
});

test("transparent parts show the background", async () => {
  const png = await sharp({
    create: { width: 8, height: 8, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } },
  })
    .png()
    .toBuffer();
  near((await decode(png))(4, 4), [255, 255, 255]);
  near((await decode(png, { background: [10, 20, 30] }))(4, 4), [10, 20, 30]);
});

test("EXIF orientation is applied", async () => {
  // Orientation 6: to be turned a quarter clockwise, so left becomes top.
  const jpeg = await halves(64, 64).withMetadata({ orientation: 6 }).jpeg().toBuffer();
  const at = await decode(jpeg);
  near(at(4, 0), RED, 8);
  near(at(4, 7), BLUE, 8);
});

test("greyscale, CMYK and 16-bit pictures become RGB of 8 bits, and RGB becomes grey", async () => {
  const grey = sharp({
    create: { width: 8, height: 8, channels: 3, background: { r: 100, g: 100, b: 100 } },
  });
  for (const space of ["b-w", "grey16", "rgb16"]) {
    const png = await grey.clone().toColourspace(space).png().toBuffer();
    near((await decode(png))(3, 3), [100, 100, 100], 1);
    near((await decode(png, { channels: 1 }))(3, 3), [100], 1);
  }
  const cmyk = await halves(16, 16).toColourspace("cmyk").jpeg().toBuffer();
  const [r, g, b] = (await decode(cmyk))(1, 4) as [number, number, number];
  assert.ok(r > 200 && g < 80 && b < 80, `${[r, g, b]} is no red`);
  near((await decode(await halves(8, 8).png().toBuffer(), { channels: 1 }))(0, 0), [76], 0);
});

test("SVG is drawn at the size asked for", async () => {
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="2" height="4" fill="red"/></svg>';
  const at = await decode(Buffer.from(svg), { size: 64 });
  // An enlarged 4 x 4 picture would be blurred over 16 pixels here.
  near(at(30, 32), RED);
  near(at(33, 32), [255, 255, 255]);
});

test("the first frame of an animation is taken", async () => {
  const frames = await Promise.all(
    [halves(8, 8).png(), halves(8, 8).negate().png()].map((f) => f.toBuffer()),
  );
  const gif = await sharp(frames, { join: { animated: true } })
    .gif()
    .toBuffer();
  near((await decode(gif))(0, 0), RED, 8);
});

test("errors name the picture and what is wrong with it", async () => {
  const text = join(root, "text.png");
  await writeFile(text, "I am no picture");
  assert.match(await failure(text), /^Cannot read the picture .*text\.png: it is not a JPEG, PNG/);

  const jpeg = await halves(256, 256).jpeg().toBuffer();
  const truncated = join(root, "truncated.jpg");
  await writeFile(truncated, jpeg.subarray(0, jpeg.length / 2));
  assert.match(await failure(truncated), /truncated\.jpg: .*premature end/i);

  const empty = join(root, "empty.jpg");
  await writeFile(empty, "");
  assert.match(await failure(empty), /empty\.jpg: the file is empty/);
  assert.match(await failure(join(root, "gone.png")), /gone\.png: the file does not exist/);
  assert.match(await failure(root), /it is a folder/);
  assert.match(await failure(Buffer.from("words")), /\(5 bytes\): it is not a JPEG/);

  const huge = '<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"></svg>';
  assert.match(await failure(Buffer.from(huge)), /exceeds pixel limit/);
});
