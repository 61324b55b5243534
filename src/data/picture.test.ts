import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import crc32 from "crc-32";
import sharp from "sharp";
import { random } from "../util/random.js";
import { type DecodeOptions, decodePicture, UnreadablePicture } from "./picture.js";

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

async function failure(
  source: string | Uint8Array,
  options: Partial<DecodeOptions> = {},
): Promise<UnreadablePicture> {
  const decoded = decodePicture(source, { size: 8, channels: 3, ...options });
  const error = await decoded.catch((e: unknown) => e);
  assert.ok(error instanceof UnreadablePicture, String(error));
  return error;
}

/** What stands before the first ": ": what failures are counted by. */
const kindOf = ({ reason }: UnreadablePicture) => reason.split(": ", 1)[0]!;

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

test("RGB becomes grey by its luma", async () => {
  const pure = await halves(8, 8).png().toBuffer();
  near((await decode(pure, { channels: 1 }))(0, 0), [76], 0);
});

test("SVG is drawn at the size asked for", async () => {
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="2" height="4" fill="red"/></svg>';
  const at = await decode(Buffer.from(svg), { size: 64 });
  // An enlarged 4 x 4 picture would be blurred over 16 pixels here.
  near(at(30, 32), RED);
  near(at(33, 32), [255, 255, 255]);
});

test("unreadable files are told by kind, and by name", async () => {
  const text = join(root, "text.jpg");
  await writeFile(text, "I am no picture");
  const noPicture = await failure(text);
  assert.equal(kindOf(noPicture), "it is not a picture");
  assert.match(
    noPicture.message,
    /^Cannot read the picture .*text\.jpg: it is not a picture: no JPEG/,
  );
  assert.match((await failure(Buffer.from("words"))).message, /\(5 bytes\): it is not a picture/);

  const empty = join(root, "empty.jpg");
  await writeFile(empty, "");
  assert.equal((await failure(empty)).reason, "the file is empty");
  assert.equal((await failure(join(root, "gone.png"))).reason, "the file does not exist");
  assert.equal((await failure(root)).reason, "it is a folder");
});

test("truncated and damaged pictures are refused", async () => {
  const stream = random("noise");
  const pixels = Uint8Array.from({ length: 200 * 200 * 3 }, () => stream.integer(256));
  const picture = sharp(pixels, { raw: { width: 200, height: 200, channels: 3 } });
  for (const format of ["jpeg", "png", "webp", "gif"] as const) {
    const bytes = await picture.clone().toFormat(format).toBuffer();
    // Both where the decoder may stop early and where it is to read all.
    for (const size of [8, 150]) {
      const half = await failure(bytes.subarray(0, bytes.length / 2), { size });
      assert.equal(kindOf(half), "it is damaged", `${format} ${size}: ${half.reason}`);
    }
  }
  const jpeg = await picture.jpeg().toBuffer();
  assert.match((await failure(jpeg.subarray(0, jpeg.length / 2))).reason, /premature end/i);
  // A head and nothing else.
  assert.equal(kindOf(await failure(jpeg.subarray(0, 20))), "it is damaged");
});

test("a picture of more pixels than allowed is refused before it is decoded", async () => {
  // A small PNG whose head speaks of 400 million pixels.
  const bomb = await halves(8, 8).png().toBuffer();
  bomb.writeUInt32BE(20000, 16);
  bomb.writeUInt32BE(20000, 20);
  bomb.writeInt32BE(crc32.buf(bomb.subarray(12, 29)), 29);
  assert.equal((await failure(bomb)).reason, "it has too many pixels");
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"></svg>';
  assert.equal(kindOf(await failure(Buffer.from(svg))), "it has too many pixels");

  for (const format of ["png", "jpeg"] as const) {
    const small = await halves(40, 30).toFormat(format).toBuffer();
    assert.equal(kindOf(await failure(small, { maxPixels: 1199 })), "it has too many pixels");
    near((await decode(small, { maxPixels: 1200 }))(0, 0), RED);
  }
});

test("greys, palettes, transparency and 16 bits", async () => {
  const ramp = Uint8Array.from({ length: 16 * 16 }, (_, i) => (i % 16) * 17);
  const grey = sharp(ramp, { raw: { width: 16, height: 16, channels: 1 } });
  for (const [name, bytes] of Object.entries({
    grey: await grey.clone().png().toBuffer(),
    "grey JPEG": await grey.clone().jpeg({ quality: 100 }).toBuffer(),
    "16 bits": await grey.clone().toColourspace("grey16").png().toBuffer(),
    "16 bits of colour": await grey.clone().toColourspace("rgb16").png().toBuffer(),
    palette: await grey.clone().png({ palette: true }).toBuffer(),
    "lossless WebP": await grey.clone().webp({ lossless: true }).toBuffer(),
    TIFF: await grey.clone().tiff({ compression: "lzw" }).toBuffer(),
  })) {
    const at = await decode(bytes, { size: 16 });
    for (const x of [0, 5, 15]) {
      const found = at(x, 8);
      assert.ok(
        found.every((v) => Math.abs(v - 17 * x) <= 1),
        `${name}: ${found} at ${x}`,
      );
    }
  }
  const alpha = Uint8Array.from({ length: 16 * 16 * 2 }, (_, i) => (i % 2 ? 128 : 100));
  const veiled = sharp(alpha, { raw: { width: 16, height: 16, channels: 2 } });
  const half = (from: number, to: number) => from + ((to - from) * 128) / 255;
  for (const depth of ["b-w", "grey16"]) {
    const png = await veiled.clone().toColourspace(depth).png().toBuffer();
    const shown = half(255, 100);
    near((await decode(png))(3, 3), [shown, shown, shown], 1);
    near((await decode(png, { background: [0, 0, 255] }))(3, 3), [50, 50, half(255, 100)], 1);
  }
});

test("CMYK has the right colours, with a profile and without", async () => {
  for (const [name, colour] of Object.entries({
    red: [200, 60, 60],
    green: [90, 150, 100],
    grey: [128, 128, 128],
  } as const)) {
    const [r, g, b] = colour;
    const rgb = sharp({
      create: { width: 32, height: 32, channels: 3, background: { r, g, b } },
    });
    const bare = rgb.clone().toColourspace("cmyk").jpeg({ quality: 95 });
    const profiled = rgb.clone().toColourspace("cmyk").withIccProfile("cmyk").jpeg({ quality: 95 });
    for (const image of [bare, profiled]) {
      const bytes = await image.toBuffer();
      assert.equal((await sharp(bytes).metadata()).space, "cmyk");
      const found = (await decode(bytes))(4, 4);
      assert.ok(
        found.every((v, c) => Math.abs(v - colour[c]!) < 25),
        `${name} is ${found}`,
      );
    }
  }
});

test("a wide gamut's colours become those of sRGB", async () => {
  const rgb = sharp({
    create: { width: 16, height: 16, channels: 3, background: { r: 180, g: 90, b: 60 } },
  });
  const p3 = await rgb.withIccProfile("p3").png().toBuffer();
  const { data } = await sharp(p3, { ignoreIcc: true }).raw().toBuffer({ resolveWithObject: true });
  assert.ok(Math.abs(data[0]! - 180) > 4, "the file's own numbers are others");
  near((await decode(p3))(4, 4), [180, 90, 60], 2);
});

test("every EXIF orientation is turned upright, shrunk by the decoder or not", async () => {
  // Quarters of red, green, blue and white, as they are to be seen.
  const quarters = (width: number, height: number) => {
    const colours = [RED, [0, 255, 0], BLUE, [255, 255, 255]] as const;
    const pixels = new Uint8Array(width * height * 3);
    for (let i = 0; i < width * height; i++) {
      const right = i % width >= width / 2 ? 1 : 0;
      const below = i >= (width * height) / 2 ? 2 : 0;
      pixels.set(colours[right + below]!, i * 3);
    }
    return sharp(pixels, { raw: { width, height, channels: 3 } });
  };
  for (const side of [24, 160]) {
    const upright = quarters(side, side);
    // How a camera held so stores it: the turns and mirrors that undo each orientation.
    const stored = {
      1: upright.clone(),
      2: upright.clone().flop(),
      3: upright.clone().rotate(180),
      4: upright.clone().flip(),
      6: upright.clone().rotate(270),
      8: upright.clone().rotate(90),
    };
    for (const [orientation, image] of Object.entries(stored)) {
      const bytes = await sharp(await image.png().toBuffer())
        .withMetadata({ orientation: Number(orientation) })
        .jpeg({ quality: 100, chromaSubsampling: "4:4:4" })
        .toBuffer();
      const at = await decode(bytes);
      for (const [x, y, colour] of [
        [1, 1, RED],
        [6, 1, [0, 255, 0]],
        [1, 6, BLUE],
        [6, 6, [255, 255, 255]],
      ] as const) {
        near(at(x, y), colour, 12);
      }
    }
  }
});

test("of animated GIFs and WebPs the first frame is taken", async () => {
  const frames = await Promise.all(
    [halves(64, 64).png(), halves(64, 64).negate().png()].map((f) => f.toBuffer()),
  );
  const animation = sharp(frames, { join: { animated: true } });
  for (const bytes of [
    await animation.clone().gif().toBuffer(),
    await animation.clone().webp({ lossless: true }).toBuffer(),
  ]) {
    assert.equal((await sharp(bytes).metadata()).pages, 2);
    for (const size of [8, 50]) {
      const at = await decode(bytes, { size });
      near(at(0, size - 1), RED, 8);
      near(at(size - 1, 0), BLUE, 8);
    }
  }
});

/** Mean and largest difference of two pictures' values. */
function difference(a: Uint8Array, b: Uint8Array) {
  assert.equal(a.length, b.length);
  let sum = 0;
  let most = 0;
  for (const [i, value] of a.entries()) {
    const apart = Math.abs(value - b[i]!);
    sum += apart;
    most = Math.max(most, apart);
  }
  return { mean: sum / a.length, most };
}

test("pictures are what Pillow makes of them for CLIP", async () => {
  const folder = new URL("../../../test/fixtures/pictures/", import.meta.url);
  const names = await readdir(folder);
  const expected = names.filter((name) => /\.\d+\.png$/.test(name));
  assert.equal(expected.length, 14);
  for (const name of expected) {
    const [stem, side] = name.split(".") as [string, string];
    const source = names.find((other) => other === `${stem}.jpg` || other === `${stem}.png`)!;
    const size = Number(side);
    const path = fileURLToPath(new URL(source, folder));
    const pixels = await decodePicture(path, { size, channels: 3 });
    const pillow = await sharp(fileURLToPath(new URL(name, folder)))
      .toColourspace("srgb")
      .raw()
      .toBuffer();
    const { mean, most } = difference(pixels, pillow);
    const { width, height } = await sharp(path).metadata();
    // Some of those are shrunk by libvips.
    const large = Math.min(width, height) >= 3 * size;
    const [meanBound, mostBound] = large ? [1, 25] : [0.02, 2];
    assert.ok(
      mean <= meanBound && most <= mostBound,
      `${name}: ${mean} on average, ${most} at most`,
    );
  }
});
