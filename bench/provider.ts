/**
 * `npm run bench -- provider [NAME] [BATCH]`: training steps by another provider of ONNX Runtime than the
 * processor, such as cuda or webgpu, beside the processor's in the same run, and how far their losses differ.
 */
import { CLIP } from "../src/clip/index.js";
import { initialize } from "../src/nn/index.js";
import { TrainingStep } from "../src/train/index.js";
import { inFreshProcess } from "./fresh-process.js";
import { median } from "./median.js";
import { randomBatch, sizes } from "./step.js";

const WARM_UP_STEPS = 2;
const TIMED_STEPS = { cpu: 3, other: 10 };

interface Steps {
  readonly medianSeconds: number;
  /** Of each step from the first. */
  readonly losses: readonly number[];
}

/** Steps of one size in this process. */
export async function measureSteps(
  size: string,
  batchSize: number,
  provider: string,
): Promise<Steps> {
  const clip = new CLIP(sizes[size]!.clip);
  const step = await TrainingStep.compile({
    clip,
    batchSize,
    textLength: clip.options.textSeqLen,
    weights: initialize(clip.parameters, 0),
    runtime: { provider },
  });
  const batch = randomBatch(clip, batchSize);
  const seconds: number[] = [];
  const losses: number[] = [];
  for (let i = 0; i < WARM_UP_STEPS + TIMED_STEPS[provider === "cpu" ? "cpu" : "other"]; i++) {
    const start = performance.now();
    const { loss } = await step.run(batch, { learningRate: 1e-4, maxGradientNorm: 1 });
    if (i >= WARM_UP_STEPS) seconds.push((performance.now() - start) / 1000);
    losses.push(loss);
  }
  await step.release();
  return { medianSeconds: median(seconds), losses };
}

/** Runs the benchmark. */
export async function benchProvider([provider = "cuda", batch = "64"]: readonly string[]) {
  const results: Record<string, object> = {};
  for (const size of Object.keys(sizes)) {
    const steps = (by: string) =>
      inFreshProcess<Steps>(import.meta.url, "measureSteps", size, Number(batch), by);
    const own = await steps(provider);
    const cpu = await steps("cpu");
    const differences = cpu.losses.map((loss, i) => Math.abs(own.losses[i]! / loss - 1));
    const figures = {
      batch: Number(batch),
      medianSeconds: own.medianSeconds,
      cpuSeconds: cpu.medianSeconds,
      timesAsFast: cpu.medianSeconds / own.medianSeconds,
      lossDifference: Math.max(...differences),
    };
    results[size] = figures;
    console.log(
      `${size}, batch ${batch}, ${provider}: ${(1000 * own.medianSeconds).toFixed(0)} ms a step, ` +
        `${figures.timesAsFast.toFixed(1)} times as fast as the processor; losses differ by at most ` +
        `${figures.lossDifference.toExponential(1)}`,
    );
  }
  return { provider, ...results };
}
