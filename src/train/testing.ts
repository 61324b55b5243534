/** What the tests of training share: a tiny model, and pictures of one colour each. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import sharp from "sharp";
import { CLIP, type ClipOptions } from "../clip/index.js";
import { openSource, type Sample, type Shard } from "../data/index.js";
import { type Communicator, sameOnAllRanks } from "../distributed/index.js";
import { programOf } from "../distributed/testing.js";
import { initialize } from "../nn/index.js";
import { random } from "../util/random.js";
import { type Metrics, machineMetrics, readMetrics } from "./metrics.js";
import type { TrainResult } from "./run.js";
import { TrainingStep } from "./step.js";
import { train } from "./train.js";

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

/** Objectives whose training ranks share, each with the views that it takes. */
const shared: Readonly<Record<string, { clip: ClipOptions; views?: boolean }>> = {
  InfoNCE: { clip: {} },
  "DCL, more views": { clip: { decoupledContrastiveLearning: true }, views: true },
  "FILIP, more views": { clip: { useAllTokenEmbeds: true }, views: true },
  CLOOB: { clip: { hopfieldRetrieval: true, extraLatentProjection: true } },
  SigLIP: { clip: { sigmoidLoss: true } },
  "masked words, similarity regularisation": { clip: { useMlm: true, simRegLossWeight: 0.1 } },
  "as x-clip": { clip: { compat: "x-clip", extraLatentProjection: true }, views: true },
};

/**
 * The losses of so many steps of each objective, on the same batches however many ranks share them; and the
 * sum of all weights at the end.
 */
export async function lossCurves(
  communicator: Communicator,
  steps: number,
): Promise<Record<string, { losses: number[]; weights: number }>> {
  const [batchSize, textLength] = [7, 4];
  const curves: Record<string, { losses: number[]; weights: number }> = {};
  for (const [name, { clip: options, views }] of Object.entries(shared)) {
    const clip = new CLIP({ ...tinyClip, numTextTokens: 20, textSeqLen: textLength, ...options });
    const augmented = views ? { augTexts: 1, augImages: 1 } : {};
    const step = await TrainingStep.compile({
      clip,
      batchSize,
      textLength,
      ...augmented,
      chunkSize: 2,
      weights: initialize(clip.parameters, 1),
      runtime: { threads: 1 },
      communicator,
    });
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) {
      const stream = random(name, i % 5);
      const text = () =>
        Int32Array.from({ length: batchSize * textLength }, () => stream.integer(20));
      const image = () => Float32Array.from({ length: batchSize * 192 }, () => stream.normal());
      const batch = {
        text: text(),
        image: image(),
        patchIndices: Int32Array.from(
          { length: (views ? 2 : 1) * batchSize * clip.keptPatches },
          (_, k) => (3 * k + i) % clip.patches,
        ),
        ...(views && { augText: [text()], augImage: [image()] }),
        ...(options.useMlm && {
          mlm: { sequence: text(), labels: text().map((id, k) => (k % 5 === 1 ? id : 0)) },
        }),
        identities: {
          pictures: Float64Array.of(0, 1, 2, 3, 4, 5, 0),
          captions: [],
          known: new Float64Array(),
          knownCounts: new Int32Array(batchSize),
        },
      };
      losses.push((await step.run(batch, { learningRate: 1e-3, maxGradientNorm: 1 })).loss);
    }
    await sameOnAllRanks(communicator, step.weights);
    let weights = 0;
    for (const values of step.weights.values()) for (const value of values) weights += value;
    await step.release();
    curves[name] = { losses, weights };
  }
  return curves;
}

/** Trains on pictures of colours, or on a source of them; ranks share the work. */
export async function trainColours(
  communicator: Communicator,
  data: readonly Sample[] | string,
  out: string,
  options: { readonly resume?: boolean; readonly steps?: number; readonly readers?: number } = {},
): Promise<TrainResult> {
  const { resume = false, steps, readers } = options;
  return train({
    out,
    sources: [typeof data === "string" ? await openSource(data) : data],
    resume,
    communicator,
    model: { clip: tinyClip },
    training: {
      steps: 12,
      batchSize: 5,
      warmupSteps: 2,
      learningRate: 1e-2,
      augImages: 1,
      ...(readers !== undefined && { readers }),
    },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...(steps !== undefined && { signal: stopAfter(steps) }),
  });
}

/** A call of a function of this file as a program of ranks. */
export const callOf = <R>(name: string, ...parameters: readonly unknown[]) =>
  programOf<R>(import.meta.url, name, ...parameters);

/** What befalls a rank in {@link trainTars}: a signal before one of the steps it takes. */
export interface Fault {
  readonly rank: number;
  readonly step: number;
  readonly signal: "SIGKILL" | "SIGSTOP";
}

/** Trains on shards, with a checkpoint after each step, until a fault. */
export async function trainTars(
  communicator: Communicator,
  folder: string,
  out: string,
  { resume = false, fault }: { readonly resume?: boolean; readonly fault?: Fault } = {},
): Promise<void> {
  let looks = 0;
  const signal = {
    get aborted() {
      looks++;
      if (fault?.rank === communicator.rank && fault.step === looks)
        process.kill(process.pid, fault.signal);
      return false;
    },
  } as AbortSignal;
  await train({
    out,
    sources: [await openSource(folder)],
    resume,
    communicator,
    model: { clip: tinyClip },
    training: {
      ...{ steps: 12, batchSize: 7, warmupSteps: 2, learningRate: 1e-3, augImages: 1 },
      ...{ shuffleBuffer: 16, readers: 2, checkpointSeconds: 1e-6 },
    },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    signal,
  });
}

/**
 * Trains for two steps, with a validation on ten samples at the end.
 *
 * @returns samples that this rank has read to validate on
 */
export async function trainWithValidation(
  communicator: Communicator,
  samples: readonly Sample[],
  out: string,
): Promise<number> {
  let count = 0;
  const shard: Shard = {
    name: "counted",
    async *read() {
      for (; count < 10; count++) yield { ...samples[count % samples.length]!, name: `${count}` };
    },
  };
  await train({
    out,
    samples,
    validation: { name: "counted", shards: [shard] },
    communicator,
    model: { clip: tinyClip },
    training: { steps: 2, batchSize: 4, warmupSteps: 0 },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
  });
  return count;
}
