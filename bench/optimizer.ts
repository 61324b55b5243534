/**
 * `npm run bench -- optimizer`: an update of all parameters beside a memcpy that moves as many bytes, in
 * turn in one process.
 */
import { availableParallelism } from "node:os";
import { Optimizer, type OptimizerKind } from "../src/train/index.js";
import { inFreshProcess } from "./fresh-process.js";
import { median } from "./median.js";
import { ThreadedCopy } from "./threaded-copy.js";

/** Trained parameters: about those of x-clip's defaults, and of ViT-B/32. */
const COUNTS = [50e6, 150e6];
/** In tensors of this many: a matrix of 1000 x 1000. */
const TENSOR = 1e6;
const ROUNDS = 11;

/**
 * What an update cannot do without moving, for each parameter: parameter, gradient and moments are read,
 * parameter and moments written. Clipping reads the gradient once more, which counts as the update's loss.
 */
const BYTES: Readonly<Record<OptimizerKind, number>> = { adamw: 28, lion: 20 };

/** Of several rounds. */
interface Times {
  readonly median: number;
  /** The least: other work on the machine slows most rounds, and that on all threads more than others. */
  readonly best: number;
}

/** What was measured of one rule at one size, in milliseconds. */
export interface OptimizerFigures {
  readonly kind: OptimizerKind;
  readonly parameters: number;
  readonly update: Times;
  readonly memcpy: Times;
  readonly memcpyAllThreads: Times;
  /** The update's, of the bytes above, by the median. */
  readonly gigabytesPerSecond: number;
  /** The update over either memcpy. */
  readonly timesMemcpy: Times;
  readonly timesMemcpyAllThreads: Times;
}

/** Measures one rule at one size in this process. */
export async function measureOptimizer(
  kind: OptimizerKind,
  count: number,
): Promise<OptimizerFigures> {
  const values = Float32Array.from({ length: TENSOR }, (_, i) => ((i % 101) - 50) / 1000);
  const shape = [TENSOR / 1000, 1000];
  const names = Array.from({ length: count / TENSOR }, (_, i) => `w${i}`);
  const parameters = new Map(names.map((name) => [name, { shape, values }]));
  const optimizer = new Optimizer(parameters, { kind });
  for (const gradient of optimizer.gradients.values()) gradient.set(values);
  // A copy reads each byte and writes it: half the bytes moved are the length of what is copied.
  const bytes = (BYTES[kind] * count) / 2;
  const one = await ThreadedCopy.start(1);
  const all = await ThreadedCopy.start(availableParallelism());
  const update = () => optimizer.step({ learningRate: 1e-4, maxGradientNorm: 1 });
  const [updates, copies, allCopies] = [[], [], []] as [number[], number[], number[]];
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [times, work] of [
      [updates, update],
      [copies, () => one.copy(bytes)],
      [allCopies, () => all.copy(bytes)],
    ] as const) {
      const start = performance.now();
      work();
      // The first round touches the memory.
      if (round > 0) times.push(performance.now() - start);
    }
  }
  await Promise.all([one.stop(), all.stop()]);
  const [updated, memcpy, memcpyAllThreads] = [updates, copies, allCopies].map(timesOf) as [
    Times,
    Times,
    Times,
  ];
  const over = (other: Times): Times => ({
    median: updated.median / other.median,
    best: updated.best / other.best,
  });
  return {
    kind,
    parameters: count,
    update: updated,
    memcpy,
    memcpyAllThreads,
    gigabytesPerSecond: (BYTES[kind] * count) / updated.median / 1e6,
    timesMemcpy: over(memcpy),
    timesMemcpyAllThreads: over(memcpyAllThreads),
  };
}

/** Runs the benchmark. `timesMemcpy` is AdamW's worst: of all sizes, both memcpys, medians and bests. */
export async function benchOptimizer(): Promise<object> {
  const figures: OptimizerFigures[] = [];
  for (const kind of Object.keys(BYTES)) {
    for (const count of COUNTS) {
      const measured = await inFreshProcess<OptimizerFigures>(
        import.meta.url,
        "measureOptimizer",
        kind,
        count,
      );
      figures.push(measured);
      console.log(
        `${kind}, ${count / 1e6} M parameters: ${written(measured.update, 0)} ms, ` +
          `${measured.gigabytesPerSecond.toFixed(1)} GB/s; times memcpy: ` +
          `${written(measured.timesMemcpy)} (one thread), ` +
          `${written(measured.timesMemcpyAllThreads)} (${availableParallelism()} threads)`,
      );
    }
  }
  const adamw = figures.filter(({ kind }) => kind === "adamw");
  const ratios = adamw
    .flatMap((f) => [f.timesMemcpy, f.timesMemcpyAllThreads])
    .flatMap(({ median, best }) => [median, best]);
  return {
    timesMemcpy: Math.max(...ratios),
    threads: { update: 1, memcpy: [1, availableParallelism()] },
    bytesPerParameter: BYTES,
    figures,
  };
}

function timesOf(values: readonly number[]): Times {
  return {
    median: median(values),
    best: Math.min(...values),
  };
}

function written({ median, best }: Times, digits = 2): string {
  return `${median.toFixed(digits)} (best ${best.toFixed(digits)})`;
}
