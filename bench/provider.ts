/**
 * `npm run bench -- provider [NAME] [BATCH]`: training steps by another provider of ONNX Runtime than the
 * processor, such as cuda or webgpu, beside the processor's in the same run, and how far their losses differ.
 */
import { CLIP } from "../src/clip/index.js";
import { inFreshProcess } from "./fresh-process.js";
import { sizes, type TimedSteps, timeSteps } from "./step.js";

/** The processor takes its time. */
const TIMED_STEPS = { cpu: 3, other: 10 };

/** Steps of one size in this process. */
export async function measureSteps(
  size: string,
  batchSize: number,
  provider: string,
): Promise<TimedSteps> {
  const timedSteps = TIMED_STEPS[provider === "cpu" ? "cpu" : "other"];
  return timeSteps(new CLIP(sizes[size]!.clip), batchSize, timedSteps, { provider });
}

/** Runs the benchmark. */
export async function benchProvider([provider = "cuda", batch = "64"]: readonly string[]) {
  const results: Record<string, object> = {};
  for (const size of Object.keys(sizes)) {
    const steps = (by: string) =>
      inFreshProcess<TimedSteps>(import.meta.url, "measureSteps", size, Number(batch), by);
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
