/**
 * `npm run bench -- step`: forward, backward and update of a whole model, as GFLOP/s of its matrix
 * products and as a share of the fastest matrix product in the same process.
 */
import { availableParallelism } from "node:os";
import { CLIP, type ClipOptions } from "../src/clip/index.js";
import { initialize } from "../src/nn/index.js";
import type { RuntimeOptions } from "../src/runtime/index.js";
import { TrainingStep } from "../src/train/index.js";
import { random } from "../src/util/random.js";
import { sgemmCeiling } from "./ceiling.js";
import { stepFlops } from "./flops.js";
import { inFreshProcess } from "./fresh-process.js";
import { median } from "./median.js";

export const sizes: Record<string, { readonly batch: number; readonly clip: ClipOptions }> = {
  /** The sizes of x-clip's README. */
  readme: { batch: 8, clip: {} },
  /** Widths and depths of CLIP ViT-B/32. */
  "vit-b-32": {
    batch: 8,
    clip: {
      dimText: 512,
      dimImage: 768,
      dimLatent: 512,
      numTextTokens: 49408,
      textEncDepth: 12,
      textSeqLen: 77,
      visualEncDepth: 12,
      visualHeads: 12,
      visualImageSize: 224,
      visualPatchSize: 32,
      visualPatchDropout: 0,
    },
  },
};

const WARM_UP_STEPS = 2;
const TIMED_STEPS = 8;

/** What was measured of one size. */
export interface StepFigures {
  readonly size: string;
  readonly batch: number;
  readonly threads: number;
  readonly gflopPerStep: number;
  readonly medianSeconds: number;
  readonly gflops: number;
  readonly ceilingGflops: number;
  readonly shareOfCeiling: number;
  readonly peakMB: number;
}

/** What {@link timeSteps} finds. */
export interface TimedSteps {
  readonly medianSeconds: number;
  /** Of each step from the first, untimed ones included. */
  readonly losses: readonly number[];
}

/** Measures one size in this process. */
export async function measureStep(size: string, batchSize: number): Promise<StepFigures> {
  const threads = availableParallelism();
  const clip = new CLIP(sizes[size]!.clip);
  const before = await sgemmCeiling(threads);
  const { medianSeconds } = await timeSteps(clip, batchSize, TIMED_STEPS, { threads });
  // Other work on the machine slows some runs: the ceiling is what it could do at its best.
  const ceilingGflops = Math.max(before, await sgemmCeiling(threads));
  const gflopPerStep = stepFlops(clip, batchSize) / 1e9;
  const gflops = gflopPerStep / medianSeconds;
  return {
    size,
    batch: batchSize,
    threads,
    gflopPerStep,
    medianSeconds,
    gflops,
    ceilingGflops,
    shareOfCeiling: gflops / ceilingGflops,
    peakMB: process.resourceUsage().maxRSS / 1024,
  };
}

/** Times steps after some untimed ones, all of one batch. */
export async function timeSteps(
  clip: CLIP,
  batchSize: number,
  timedSteps: number,
  runtime: RuntimeOptions,
): Promise<TimedSteps> {
  const step = await TrainingStep.compile({
    clip,
    batchSize,
    textLength: clip.options.textSeqLen,
    weights: initialize(clip.parameters, 0),
    runtime,
  });
  const batch = randomBatch(clip, batchSize);
  const seconds: number[] = [];
  const losses: number[] = [];
  for (let i = 0; i < WARM_UP_STEPS + timedSteps; i++) {
    const start = performance.now();
    const { loss } = await step.run(batch, { learningRate: 1e-4, maxGradientNorm: 1 });
    if (i >= WARM_UP_STEPS) seconds.push((performance.now() - start) / 1000);
    losses.push(loss);
  }
  await step.release();
  return { medianSeconds: median(seconds), losses };
}

/** Texts without padding and noise for pictures, always the same. */
function randomBatch(clip: CLIP, batchSize: number) {
  const { numTextTokens, textSeqLen, channels, visualImageSize } = clip.options;
  const stream = random("bench");
  const fill = <T extends Int32Array | Float32Array>(array: T, draw: () => number): T => {
    for (let i = 0; i < array.length; i++) array[i] = draw();
    return array;
  };
  const { patches, keptPatches } = clip;
  const kept = Array.from({ length: batchSize }, () => [
    ...stream.permutation(patches).subarray(0, keptPatches),
  ]);
  return {
    text: fill(new Int32Array(batchSize * textSeqLen), () => 1 + stream.integer(numTextTokens - 1)),
    image: fill(new Float32Array(batchSize * channels * visualImageSize ** 2), () =>
      stream.normal(),
    ),
    ...(keptPatches < patches && { patchIndices: Int32Array.from(kept.flat()) }),
  };
}

/** Runs the benchmark, each size in a fresh process so that its peak memory is its own. */
export async function benchStep(): Promise<Record<string, StepFigures>> {
  const results: Record<string, StepFigures> = {};
  for (const [size, { batch }] of Object.entries(sizes)) {
    const figures = await inFreshProcess<StepFigures>(import.meta.url, "measureStep", size, batch);
    results[size] = figures;
    console.log(
      `${size}, batch ${batch}: ${figures.gflops.toFixed(0)} GFLOP/s of ` +
        `${figures.ceilingGflops.toFixed(0)} (${(100 * figures.shareOfCeiling).toFixed(0)} %), ` +
        `${figures.medianSeconds.toFixed(2)} s a step, peak ${figures.peakMB.toFixed(0)} MB`,
    );
  }
  return results;
}
