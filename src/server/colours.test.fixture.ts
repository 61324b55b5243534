import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import type { Sample } from "../data/sample.js";
import type { Embedder, FailedPicture, PictureSource } from "../model/embedder.js";
import { messageOf } from "../util/errors.js";
import { random } from "../util/random.js";

const COLOURS: Readonly<Record<string, readonly [number, number, number]>> = {
  red: [214, 60, 60],
  orange: [236, 145, 50],
  yellow: [242, 205, 70],
  green: [70, 160, 90],
  teal: [50, 160, 160],
  blue: [65, 110, 210],
  purple: [135, 85, 190],
  pink: [235, 130, 175],
  brown: [130, 90, 65],
  grey: [130, 135, 140],
};

const SHAPES: Readonly<Record<string, string>> = {
  square: `<rect x="20" y="20" width="120" height="120"/>`,
  circle: `<circle cx="80" cy="80" r="60"/>`,
  diamond: `<polygon points="80,10 150,80 80,150 10,80"/>`,
};

const WIDTH = 32;

/** Draws a picture of every shape in every colour, 30 in all, into `folder`. */
export async function drawColours(folder: string): Promise<Sample[]> {
  await mkdir(folder, { recursive: true });
  const samples: Sample[] = [];
  for (const colour of Object.keys(COLOURS)) {
    for (const shape of Object.keys(SHAPES)) {
      const picture = join(folder, `${colour}-${shape}.png`);
      await sharp(shapePicture(colour, shape)).png().toFile(picture);
      samples.push({ picture, captions: [`a ${colour} ${shape}`, `a ${shape} in ${colour}`] });
    }
  }
  return samples;
}

/** SVG bytes of a shape in the middle of a pale ground. */
export function shapePicture(colour: string, shape: string): Buffer {
  const fill = `rgb(${COLOURS[colour]!.join()})`;
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="160" height="160">` +
      `<rect width="160" height="160" fill="#f4f1ea"/><g fill="${fill}">${SHAPES[shape]}</g></svg>`,
  );
}

function addWord(row: Float32Array, word: string, weight: number): void {
  const stream = random("word", word);
  for (let i = 0; i < WIDTH; i++) row[i] = row[i]! + weight * stream.normal();
}

function normalize(row: Float32Array): void {
  const length = Math.hypot(...row);
  for (let i = 0; i < WIDTH; i++) row[i] = row[i]! / length;
}

/** The name of the colour in the middle of a picture, and how much of the picture has it. */
async function look(picture: PictureSource): Promise<{ colour: string; filled: number }> {
  const { data } = await sharp(picture)
    .removeAlpha()
    .resize(16, 16, { kernel: "nearest" })
    .raw()
    .toBuffer({ resolveWithObject: true });
  const distance = (pixel: number, [r, g, b]: readonly [number, number, number]) =>
    Math.hypot(data[pixel * 3]! - r, data[pixel * 3 + 1]! - g, data[pixel * 3 + 2]! - b);
  const middle = 8 * 16 + 8;
  const [colour, rgb] = Object.entries(COLOURS).reduce((best, entry) =>
    distance(middle, entry[1]) < distance(middle, best[1]) ? entry : best,
  );
  let filled = 0;
  for (let pixel = 0; pixel < 256; pixel++) if (distance(pixel, rgb) < 30) filled++;
  return { colour, filled };
}

/** Texts are the sum of their words' vectors; pictures are the vector of their colour's name. */
export const colourEmbedder: Embedder = {
  width: WIDTH,
  embedTexts: async (texts) => {
    const embeddings = new Float32Array(texts.length * WIDTH);
    for (const [i, text] of texts.entries()) {
      const row = embeddings.subarray(i * WIDTH, (i + 1) * WIDTH);
      for (const word of text.toLowerCase().split(/\s+/)) addWord(row, word, 1);
      normalize(row);
    }
    return embeddings;
  },
  embedPictures: async (pictures) => {
    const embeddings = new Float32Array(pictures.length * WIDTH);
    const failed: FailedPicture[] = [];
    for (const [i, picture] of pictures.entries()) {
      const row = embeddings.subarray(i * WIDTH, (i + 1) * WIDTH);
      try {
        const { colour, filled } = await look(picture);
        addWord(row, colour, 1);
        addWord(row, `filled ${filled}`, 0.3);
        normalize(row);
      } catch (error) {
        failed.push({ index: i, reason: messageOf(error) });
      }
    }
    return { embeddings, failed };
  },
};
