/**
 * `npm run bench -- epoch`: a pass over 50,000 pictures in shards: how flat the memory is, and how long
 * steps wait for their samples. The model is narrow, so that a pass takes minutes: data is asked for far
 * faster than a model of a useful size would. With a number of minutes, the same of a model of the sizes of
 * x-clip's README, which comes so far and no further.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLIP } from "../src/clip/index.js";
import { openSource } from "../src/data/index.js";
import { type NewRun, readMetrics, train } from "../src/train/index.js";
import { median } from "./median.js";
import { writeShapes } from "./shapes/shards.js";

const PICTURES = 50_000;
/** A pass by a narrow model. */
const narrow = {
  model: {
    clip: {
      dimText: 64,
      dimImage: 64,
      dimLatent: 64,
      textEncDepth: 1,
      textSeqLen: 24,
      visualEncDepth: 1,
      visualImageSize: 256,
      visualPatchSize: 64,
    },
  },
  training: { epochs: 1, batchSize: 64 },
} as const satisfies NewRun;

/** Some minutes of the README's sizes. */
function wide(minutes: number) {
  const { visualImageSize, textSeqLen } = new CLIP({}).options;
  return {
    model: { clip: { visualImageSize, textSeqLen } },
    training: { minutes, batchSize: 32, schedule: "constant" },
  } as const satisfies NewRun;
}

/** Memory is compared with that after so long: caches and blocks of samples have filled. */
const SETTLED_SECONDS = 60;
/** It goes up and down with garbage: what is compared are medians over so long. */
const WINDOW_SECONDS = 30;

export interface EpochFigures {
  readonly pictures: number;
  readonly picturesPerSecond: number;
  /** Part of the steps' time that they waited for their batch. */
  readonly dataWait: number;
  /** Resident memory when it had settled, at the end, and the most after it had settled. */
  readonly settledMB: number;
  readonly lastMB: number;
  readonly mostMB: number;
  /** What the last is above the settled one, as a part of it. */
  readonly growth: number;
}

/**
 * Runs the benchmark.
 *
 * @param options a folder that has the shards of `npm run shapes`, or is to have them; default: one that is
 *   removed afterwards. And, for a model of the README's sizes, the minutes.
 */
export async function benchEpoch([folder, minutes]: readonly string[]): Promise<EpochFigures> {
  const temporary = await mkdtemp(join(tmpdir(), "clipsmith-bench-epoch-"));
  try {
    const shards = folder ?? join(temporary, "shapes");
    await writeShapes(shards, { count: PICTURES });
    const out = join(temporary, "run");
    const run = minutes === undefined ? narrow : wide(Number(minutes));
    const batch = run.training.batchSize;
    await train({
      ...run,
      out,
      sources: [await openSource(shards)],
      progress: { stream: process.stderr },
    });
    // The first step waits for the first batch, and for the threads to start.
    const steps = readMetrics(join(out, "metrics.jsonl")).slice(1) as unknown as {
      samplesPerSecond: number;
      dataWaitSeconds: number;
      rssMB: number;
    }[];
    let seconds = 0;
    let waited = 0;
    const memory: { readonly time: number; readonly rssMB: number }[] = [];
    for (const { samplesPerSecond, dataWaitSeconds, rssMB } of steps) {
      seconds += batch / samplesPerSecond;
      waited += dataWaitSeconds;
      if (seconds >= SETTLED_SECONDS) memory.push({ time: seconds, rssMB });
    }
    const shortest = SETTLED_SECONDS + WINDOW_SECONDS;
    if (seconds < shortest) {
      throw new Error(
        `the run took ${seconds.toFixed(0)} s, too short for memory: ${shortest} s or more`,
      );
    }
    const medianOf = (from: number, to: number) => {
      const window = memory.filter(({ time }) => time >= from && time <= to);
      return median(window.map(({ rssMB }) => rssMB));
    };
    const settledMB = medianOf(SETTLED_SECONDS, SETTLED_SECONDS + WINDOW_SECONDS);
    const lastMB = medianOf(seconds - WINDOW_SECONDS, seconds);
    const mostMB = Math.max(...memory.map(({ rssMB }) => rssMB));
    const figures = {
      pictures: (steps.length + 1) * batch,
      picturesPerSecond: (steps.length * batch) / seconds,
      dataWait: waited / seconds,
      settledMB,
      lastMB,
      mostMB,
      growth: lastMB / settledMB - 1,
    };
    console.log(
      `${figures.pictures} pictures at ${figures.picturesPerSecond.toPrecision(3)} a second: ` +
        `${(100 * figures.dataWait).toFixed(1)} % of the time waited for them; ${settledMB} MB after a ` +
        `minute, ${lastMB} MB at the end (${(100 * figures.growth).toFixed(1)} % more), ${mostMB} MB at most`,
    );
    return figures;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
