/** What the tests of training share: a tiny model, and pictures of one colour each. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import sharp from "sharp";
import type { ClipOptions } from "../clip/index.js";
import type { Sample } from "../data/index.js";
import { type Metrics, machineMetrics, readMetrics } from "./metrics.js";

export type Rgb = readonly [number, number, number];

/** A model that learns a few colours in a second. */
export const tinyClip: ClipOptions = {
  dimText: 16,
  dimImage: 16,
  dimLatent: 8,
  textEncDepth: 1,
  textHeads: 2,
  textDimHead: 8,
  visualEncDepth: 1,
  visualHeads: 2,
  visualDimHead: 8,
  visualImageSize: 8,
  visualPatchSize: 4,
};

export const colours: Readonly<Record<string, Rgb>> = {
  black: [0, 0, 0],
  white: [255, 255, 255],
  red: [255, 0, 0],
  green: [0, 255, 0],
  blue: [0, 0, 255],
  yellow: [255, 255, 0],
  cyan: [0, 255, 255],
  magenta: [255, 0, 255],
};

/** Writes a small picture of one colour. */
export async function savePicture(path: string, [r, g, b]: Rgb): Promise<string> {
  const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => [r, g, b][i % 3]!);
  await sharp(pixels, { raw: { width: 8, height: 8, channels: 3 } }).toFile(path);
  return path;
}

/** A picture of each colour, with its name as the caption. */
export async function colourSamples(folder: string): Promise<Sample[]> {
  await mkdir(folder, { recursive: true });
  const samples: Sample[] = [];
  for (const [name, colour] of Object.entries(colours)) {
    const picture = await savePicture(join(folder, `${name}.png`), colour);
    samples.push({ picture, captions: [name] });
  }
  return samples;
}

/** The metrics in a file without those of the machine: equal runs have the same. */
export function learntMetrics(path: string): Metrics[] {
  return readMetrics(path).map(({ step, ...metrics }) => {
    const learnt = Object.entries(metrics).filter(([name]) => !machineMetrics.includes(name));
    return { step, ...Object.fromEntries(learnt) };
  });
}

/** Keeps what is written to it. */
export class TextSink extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** A signal that is seen to be aborted after so many steps: training looks at it once before each. */
export function stopAfter(steps: number): AbortSignal {
  let looks = 0;
  return {
    get aborted() {
      return looks++ >= steps;
    },
  } as AbortSignal;
}
