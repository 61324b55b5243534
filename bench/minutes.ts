/**
 * `npm run bench -- minutes`: whether a run of a minute takes a minute on a machine that gets busy at half
 * time; with `faster`, on one that is busy up to then. What makes it busy is a loop on each of its cores.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { openSource } from "../src/data/index.js";
import { presets, readMetrics, runFiles, train } from "../src/train/index.js";
import { median } from "./median.js";
import { writeShapes } from "./shapes/shards.js";

const MINUTES = 1;
const PICTURES = 2000;
const PICTURE_SIZE = 64;
const BATCH_SIZE = 64;

export interface MinutesFigures {
  readonly change: "slower" | "faster";
  readonly askedSeconds: number;
  /** From before the first step until the model was saved. */
  readonly takenSeconds: number;
  /** How far it was off, as a part of what was asked. */
  readonly off: number;
  readonly steps: number;
  /** Steps of the whole run as planned at half time. */
  readonly plannedAtHalfTime: number;
  /** Medians of the two halves of the time. */
  readonly samplesPerSecond: readonly [number, number];
  /** Learning rate of the last step, as a part of the highest. */
  readonly lastLearningRate: number;
}

/**
 * Runs the benchmark.
 *
 * @param options `faster`, or nothing
 */
export async function benchMinutes([option]: readonly string[]): Promise<MinutesFigures> {
  const change = option === "faster" ? "faster" : "slower";
  const askedSeconds = 60 * MINUTES;
  const folder = await mkdtemp(join(tmpdir(), "clipsmith-bench-minutes-"));
  let busy: Worker[] = [];
  const begin = () => {
    busy = Array.from(
      { length: availableParallelism() },
      () => new Worker("for (;;);", { eval: true }),
    );
  };
  const end = async () => {
    await Promise.all(busy.map((worker) => worker.terminate()));
    busy = [];
  };
  let began: number | undefined;
  let stepsAtHalfTime = 0;
  let timer: NodeJS.Timeout | undefined;
  const rows = () => readMetrics(join(folder, "run", runFiles.metrics));
  /** Training looks at its signal before each step. */
  const onStep = () => {
    if (began !== undefined) return;
    began = performance.now();
    if (change === "faster") begin();
    timer = setTimeout(() => {
      stepsAtHalfTime = rows().length;
      if (change === "slower") begin();
      else void end();
    }, 500 * askedSeconds);
  };
  const signal = {
    get aborted() {
      onStep();
      return false;
    },
  } as AbortSignal;
  try {
    const shards = join(folder, "shapes");
    await writeShapes(shards, { count: PICTURES, size: PICTURE_SIZE });
    const { clip, training } = presets.laptop;
    await train({
      out: join(folder, "run"),
      sources: [await openSource(shards)],
      model: { clip },
      training: { ...training, batchSize: BATCH_SIZE, minutes: MINUTES },
      signal,
    });
    const takenSeconds = (performance.now() - began!) / 1000;
    const steps = rows() as unknown as {
      samplesPerSecond: number;
      plannedSteps: number;
      learningRate: number;
    }[];
    const speed = (of: typeof steps) => median(of.map(({ samplesPerSecond }) => samplesPerSecond));
    const figures: MinutesFigures = {
      change,
      askedSeconds,
      takenSeconds,
      off: takenSeconds / askedSeconds - 1,
      steps: steps.length,
      plannedAtHalfTime: steps[stepsAtHalfTime - 1]!.plannedSteps,
      samplesPerSecond: [
        speed(steps.slice(0, stepsAtHalfTime)),
        speed(steps.slice(stepsAtHalfTime)),
      ],
      lastLearningRate:
        steps.at(-1)!.learningRate / Math.max(...steps.map((step) => step.learningRate)),
    };
    const [first, second] = figures.samplesPerSecond;
    console.log(
      `asked for ${askedSeconds} s, took ${takenSeconds.toFixed(1)} s (${(100 * figures.off).toFixed(1)} % off): ` +
        `${first} pairs a second up to half time, ${second} from then on; ${figures.steps} steps, ` +
        `${figures.plannedAtHalfTime} of them planned at half time`,
    );
    return figures;
  } finally {
    clearTimeout(timer);
    await end();
    await rm(folder, { recursive: true, force: true });
  }
}
