/**
 * `npm run bench -- epoch`: a pass over 50,000 pictures in shards: how flat the memory is, and how long
 * steps wait for their samples. The model is narrow, so that a pass takes minutes: data is asked for far
 * faster than a model of a useful size would.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSource } from "../src/data/index.js";
import { readMetrics, train } from "../src/train/index.js";
import { median } from "./median.js";
import { writeShapes } from "./shapes/shards.js";

const PICTURES = 50_000;
const BATCH = 64;
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
 *   removed afterwards.
 */
export async function benchEpoch([folder]: readonly string[]): Promise<EpochFigures> {
  const temporary = await mkdtemp(join(tmpdir(), "clipsmith-bench-epoch-"));
  try {
    const shards = folder ?? join(temporary, "shapes");
    await writeShapes(shards, { count: PICTURES });
    const out = join(temporary, "run");
    await train({
      out,
      sources: [await openSource(shards)],
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
      training: { epochs: 1, batchSize: BATCH },
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
      seconds += BATCH / samplesPerSecond;
      waited += dataWaitSeconds;
      if (seconds >= SETTLED_SECONDS) memory.push({ time: seconds, rssMB });
    }
    const medianOf = (from: number, to: number) => {
      const window = memory.filter(({ time }) => time >= from && time <= to);
      return median(window.map(({ rssMB }) => rssMB));
    };
    const settledMB = medianOf(SETTLED_SECONDS, SETTLED_SECONDS + WINDOW_SECONDS);
    const lastMB = medianOf(seconds - WINDOW_SECONDS, seconds);
    const mostMB = Math.max(...memory.map(({ rssMB }) => rssMB));
    const figures = {
      pictures: (steps.length + 1) * BATCH,
      picturesPerSecond: (steps.length * BATCH) / seconds,
      dataWait: waited / seconds,
      settledMB,
      lastMB,
      mostMB,
      growth: lastMB / settledMB - 1,
    };
    console.log(
      `${figures.pictures} pictures at ${figures.picturesPerSecond.toFixed(0)} a second: ` +
        `${(100 * figures.dataWait).toFixed(1)} % of the time waited for them; ${settledMB} MB after a ` +
        `minute, ${lastMB} MB at the end (${(100 * figures.growth).toFixed(1)} % more), ${mostMB} MB at most`,
    );
    return figures;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
