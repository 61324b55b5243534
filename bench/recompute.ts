/**
 * `npm run bench -- recompute`: the gradients of a Transformer's parameters with and without
 * recomputation: peak memory of the process, time, and how much the gradients differ.
 */
import { availableParallelism } from "node:os";
import { type Data, graph, input, pullback } from "../src/graph/index.js";
import { initialize, Scope, Transformer } from "../src/nn/index.js";
import { Program } from "../src/runtime/index.js";
import { random } from "../src/util/random.js";
import { inFreshProcess } from "./fresh-process.js";

const DEPTH = 12;
const WIDTH = 512;
const TOKENS = 256;
const BATCH = 8;
const ROUNDS = 5;

/** One way to take the gradients. */
interface Backward {
  /** Runs forward and backward once, in seconds. */
  run(): Promise<number>;
  readonly gradients: Readonly<Record<string, Float32Array>>;
  release(): Promise<void>;
}

async function compile(checkpointDuringTraining: boolean): Promise<Backward> {
  const scope = new Scope();
  const transformer = new Transformer(scope, WIDTH, { depth: DEPTH, checkpointDuringTraining });
  const shape = [BATCH, TOKENS, WIDTH];
  const output = transformer.call(input("x", shape));
  const names = [...scope.parameters.keys()];
  const tensors = [...scope.parameters.values()].map(({ tensor }) => tensor);
  const found = pullback([output], [input("cotangent", shape)], tensors);
  const outputs = names.map((name, i) => [`gradient of ${name}`, found[i]!] as const);
  const program = await Program.compile(graph(Object.fromEntries(outputs)), {
    threads: availableParallelism(),
    // As a training step has it.
    memoryArena: true,
  });
  const stream = random("bench");
  const draw = () => Float32Array.from({ length: BATCH * TOKENS * WIDTH }, () => stream.normal());
  const feeds: Record<string, Data> = {
    x: draw(),
    cotangent: draw(),
    ...Object.fromEntries(initialize(scope.parameters, 0)),
  };
  const gradients = Object.fromEntries(
    outputs.map(([name, { shape }]) => [
      name,
      new Float32Array((shape as readonly number[]).reduce((a, b) => a * b, 1)),
    ]),
  );
  return {
    gradients,
    async run() {
      const start = performance.now();
      await program.run(feeds, gradients);
      return (performance.now() - start) / 1000;
    },
    release: () => program.release(),
  };
}

/** Peak memory of a process that takes the gradients three times, in MB. */
export async function measurePeak(checkpointDuringTraining: boolean): Promise<number> {
  const backward = await compile(checkpointDuringTraining);
  for (let i = 0; i < 3; i++) await backward.run();
  return process.resourceUsage().maxRSS / 1024;
}

/** Both ways in turn in one process: median of the ratios of their times, and the largest difference. */
export async function measureRatio(): Promise<{ timesTime: number; gradientError: number }> {
  const plain = await compile(false);
  const recomputed = await compile(true);
  await plain.run();
  await recomputed.run();
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [a, b] = [await plain.run(), await recomputed.run()];
    ratios.push(b / a);
  }
  const errors = Object.entries(plain.gradients).map(([name, expected]) => {
    const actual = recomputed.gradients[name]!;
    const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    return expected.reduce((most, x, i) => Math.max(most, Math.abs(x - actual[i]!)), 0) / scale;
  });
  return {
    timesTime: ratios.sort((a, b) => a - b)[ROUNDS >> 1]!,
    gradientError: Math.max(...errors),
  };
}

/** Runs the benchmark, each memory measurement in a fresh process. */
export async function benchRecompute() {
  const measured = (how: boolean) => inFreshProcess<number>(import.meta.url, "measurePeak", how);
  const peakMBWithout = await measured(false);
  const peakMB = await measured(true);
  const { timesTime, gradientError } = await inFreshProcess<
    Awaited<ReturnType<typeof measureRatio>>
  >(import.meta.url, "measureRatio");
  const shareOfMemory = peakMB / peakMBWithout;
  console.log(
    `Transformer of ${DEPTH} layers, ${WIDTH} wide, ${BATCH} x ${TOKENS} tokens: peak ` +
      `${peakMB.toFixed(0)} MB with recomputation, ${peakMBWithout.toFixed(0)} MB without ` +
      `(${(100 * shareOfMemory).toFixed(0)} %), ${timesTime.toFixed(2)} times the time, gradients ` +
      `differ by ${gradientError.toExponential(1)}`,
  );
  return { peakMB, peakMBWithout, shareOfMemory, timesTime, gradientError };
}
