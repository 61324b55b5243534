/**
 * `npm run bench -- data`: pictures a second through PictureLoader, as a share of what sharp alone decodes
 * and resizes on the same cores; and the part of a training's time that it waits for pictures.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { CLIP } from "../src/clip/index.js";
import { mapConcurrently } from "../src/data/concurrent.js";
import { openSource, PictureLoader } from "../src/data/index.js";
import { type TrainingOptions, train } from "../src/train/index.js";
import { random } from "../src/util/random.js";
import { median } from "./median.js";
import { writeShapes } from "./shapes/shards.js";

/** Height and width of what is made, as CLIP ViT-B/32 has them. */
const SIZE = 224;
const BATCH = 32;
/** Loads under way at a time, as in training. */
const AHEAD = 4;
const ROUNDS = 9;
/** Pictures that libuv's four threads decode at a time. */
const CONCURRENT = 4;
const JPEG_QUALITY = 90;

/** What is decoded: how many pictures of which size, in each round. */
const sets = {
  small: { side: 256, distinct: 64, count: 512 },
  large: { side: 1024, distinct: 16, count: 128 },
};

const augment: NonNullable<TrainingOptions["augment"]> = {
  crop: [0.9, 1],
  flip: 0.5,
  colour: { brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.05 },
};

/** Pictures a second, of rounds that took turns. */
export interface LoadFigures {
  /** Height and width of the JPEGs. */
  readonly side: number;
  readonly bytes: number;
  /** Decoded, cropped, resized, changed and normalised. */
  readonly loader: number;
  /** Decoded and resized by sharp with the same kernel, shrinking as much in the decoder as it likes. */
  readonly sharp: number;
  /** Median of the rounds' ratios. */
  readonly shareOfSharp: number;
  /** Median of the rounds' ratios of processor time: what else the machine does hardly changes it. */
  readonly shareOfSharpTime: number;
  readonly shares: readonly number[];
}

export interface DataFigures {
  readonly cores: number;
  /** Of the small pictures. */
  readonly shareOfSharp: number;
  readonly small: LoadFigures;
  readonly large: LoadFigures;
  /** Part of the steps' time that they waited for their batch. */
  readonly dataWait: number;
  readonly training: TrainingFigures;
}

/** Noise whose octaves fade as those of photographs do. */
async function photo(side: number, key: number): Promise<Buffer> {
  const stream = random("photo", key);
  const light = new Float32Array(side * side * 3).fill(128);
  for (let grid = 2, strength = 60; grid <= side; grid *= 2, strength *= 0.8) {
    const cells = Uint8Array.from({ length: grid * grid * 3 }, () => stream.integer(256));
    const octave = await sharp(cells, { raw: { width: grid, height: grid, channels: 3 } })
      .resize(side, side, { kernel: "cubic" })
      .raw()
      .toBuffer();
    for (const [i, value] of octave.entries()) light[i]! += strength * (value / 128 - 1);
  }
  const pixels = Uint8ClampedArray.from(light);
  return sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
    .jpeg({ quality: JPEG_QUALITY })
    .toBuffer();
}

async function measureLoading({
  side,
  distinct,
  count,
}: (typeof sets)["small"]): Promise<LoadFigures> {
  const files: Buffer[] = [];
  for (let i = 0; i < distinct; i++) files.push(await photo(side, i));
  const pictures = Array.from({ length: count }, (_, i) => files[i % distinct]!);
  const alone = () =>
    mapConcurrently(pictures, CONCURRENT, (bytes) =>
      sharp(bytes).resize(SIZE, SIZE, { kernel: "cubic" }).raw().toBuffer(),
    );
  const loader = new PictureLoader({
    size: SIZE,
    channels: 3,
    mean: [0.48, 0.46, 0.41],
    std: [0.27, 0.26, 0.28],
    augment,
  });
  const batches = Array.from({ length: count / BATCH }, (_, batch) =>
    pictures
      .slice(batch * BATCH, (batch + 1) * BATCH)
      .map((picture, i) => ({ picture, augmentKey: [batch, i] })),
  );
  const loaded = () => mapConcurrently(batches, AHEAD, (requests) => loader.load(requests));
  const time = async (work: () => Promise<unknown>) => {
    const before = process.cpuUsage();
    const start = performance.now();
    await work();
    const seconds = (performance.now() - start) / 1000;
    const { user, system } = process.cpuUsage(before);
    return { speed: count / seconds, cpu: user + system };
  };
  await alone();
  await loaded();
  const rounds: Record<"sharp" | "loader", { readonly speed: number; readonly cpu: number }>[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rounds.push({ sharp: await time(alone), loader: await time(loaded) });
  }
  await loader.close();
  const shares = rounds.map((round) => round.loader.speed / round.sharp.speed);
  const figures = {
    side,
    bytes: Math.round(files.reduce((sum, { length }) => sum + length, 0) / distinct),
    loader: median(rounds.map((round) => round.loader.speed)),
    sharp: median(rounds.map((round) => round.sharp.speed)),
    shareOfSharp: median(shares),
    shareOfSharpTime: median(rounds.map((round) => round.sharp.cpu / round.loader.cpu)),
    shares,
  };
  console.log(
    `JPEGs of ${side} px: ${figures.loader.toFixed(0)} pictures/s, sharp alone ` +
      `${figures.sharp.toFixed(0)} (${percent(figures.shareOfSharp)}, by processor time ` +
      `${percent(figures.shareOfSharpTime)})`,
  );
  return figures;
}

export interface TrainingFigures {
  readonly steps: number;
  readonly batch: number;
  readonly secondsPerStep: number;
  readonly waitSecondsPerStep: number;
}

/** Trains a model of the sizes of x-clip's README from shards of JPEGs, for a few steps. */
async function measureWaiting(steps: number): Promise<TrainingFigures> {
  const folder = await mkdtemp(join(tmpdir(), "clipsmith-bench-data-"));
  try {
    const shards = join(folder, "shapes");
    await writeShapes(shards, { count: 2000, perShard: 500 });
    const { visualImageSize, textSeqLen } = new CLIP({}).options;
    const out = join(folder, "run");
    await train({
      out,
      sources: [await openSource(shards)],
      model: { clip: { visualImageSize, textSeqLen } },
      training: { steps, batchSize: BATCH, augment, checkpointSeconds: 3600 },
      progress: { stream: process.stderr },
    });
    const lines = (await readFile(join(out, "metrics.jsonl"), "utf8")).trim().split("\n");
    const metrics = lines.map((line) => JSON.parse(line) as Record<string, number>);
    // The first step waits for the first batch, and for the threads to start.
    const later = metrics.slice(1);
    const mean = (of: (line: Record<string, number>) => number) =>
      later.reduce((sum, line) => sum + of(line), 0) / later.length;
    return {
      steps: later.length,
      batch: BATCH,
      secondsPerStep: mean(({ samplesPerSecond }) => BATCH / samplesPerSecond!),
      waitSecondsPerStep: mean(({ dataWaitSeconds }) => dataWaitSeconds!),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Runs the benchmark; an option changes the number of training steps, 25, and 0 leaves them out. */
export async function benchData([steps = "25"]: readonly string[]): Promise<object> {
  const small = await measureLoading(sets.small);
  const large = await measureLoading(sets.large);
  const figures = {
    cores: availableParallelism(),
    shareOfSharp: small.shareOfSharp,
    small,
    large,
  };
  if (Number(steps) === 0) return figures;
  const training = await measureWaiting(Number(steps) + 1);
  const dataWait = training.waitSecondsPerStep / training.secondsPerStep;
  console.log(
    `Training waits ${percent(dataWait)} of the time for pictures ` +
      `(${training.secondsPerStep.toFixed(2)} s a step)`,
  );
  return { ...figures, dataWait, training } satisfies DataFigures;
}
