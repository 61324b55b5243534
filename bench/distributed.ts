/**
 * `npm run bench -- distributed`: what ranks of one machine cost: all-gather and all-reduce beside a memcpy,
 * how much of the all-reduce is hidden behind the pull-back, and two ranks of one thread beside one rank of
 * two threads.
 */
import { CLIP } from "../src/clip/index.js";
import { type Communicator, solo } from "../src/distributed/index.js";
import { type Mpirun, mpiruns, programOf, resultsOf } from "../src/distributed/testing.js";
import { initialize } from "../src/nn/index.js";
import { TrainingStep } from "../src/train/index.js";
import { random } from "../src/util/random.js";
import { inFreshProcess } from "./fresh-process.js";
import { median } from "./median.js";

const RANKS = 2;
const BATCH = 32;
const CHUNK = 8;
const ROUNDS = 5;
/** Numbers that are gathered and summed: as many as a model of 16 million parameters has. */
const NUMBERS = 16 * 2 ** 20;

const clip = () =>
  new CLIP({
    dimText: 256,
    dimImage: 256,
    dimLatent: 256,
    numTextTokens: 10_000,
    textEncDepth: 4,
    textSeqLen: 64,
    textHeads: 4,
    visualEncDepth: 4,
    visualImageSize: 224,
    visualPatchSize: 32,
    visualHeads: 4,
    visualPatchDropout: 0,
  });

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Milliseconds of a step, the median of some. */
async function stepTime(communicator: Communicator, threads: number): Promise<number> {
  const model = clip();
  const { textSeqLen, numTextTokens, channels, visualImageSize } = model.options;
  const step = await TrainingStep.compile({
    clip: model,
    batchSize: BATCH,
    chunkSize: CHUNK,
    textLength: textSeqLen,
    weights: initialize(model.parameters, 0),
    runtime: { threads },
    communicator,
  });
  const stream = random("distributed");
  const batch = {
    text: new Int32Array(BATCH * textSeqLen).map(() => 1 + stream.integer(numTextTokens - 1)),
    image: new Float32Array(BATCH * channels * visualImageSize ** 2).map(() => stream.normal()),
  };
  const times: number[] = [];
  for (let i = 0; i <= ROUNDS; i++) {
    await communicator.barrier();
    const time = await timed(() => step.run(batch, { learningRate: 1e-4 }));
    if (i > 0) times.push(time);
  }
  await step.release();
  return median(times);
}

/** What one rank measures, in milliseconds. */
export async function measureRank(communicator: Communicator) {
  const values = new Float32Array(NUMBERS);
  const other = new Float32Array(NUMBERS);
  const rounds: Record<"memcpy" | "allReduce" | "allGather", number[]> = {
    memcpy: [],
    allReduce: [],
    allGather: [],
  };
  for (let i = 0; i <= ROUNDS; i++) {
    const times = {
      memcpy: await timed(async () => other.set(values)),
      allReduce: await timed(() => communicator.allReduce(values)),
      allGather: await timed(() => communicator.allGather(values.subarray(0, NUMBERS / RANKS))),
    };
    for (const name of ["memcpy", "allReduce", "allGather"] as const) {
      if (i > 0) rounds[name].push(times[name]);
    }
    await communicator.barrier();
  }
  // The same steps without the sums of gradients: what is left of these is what is not hidden.
  const apart: Communicator = {
    ...communicator,
    rank: communicator.rank,
    size: communicator.size,
    allGather: (values) => communicator.allGather(values),
    barrier: () => communicator.barrier(),
    allReduce: async (values) => {
      if (values instanceof Float64Array) await communicator.allReduce(values);
    },
  };
  const step = await stepTime(communicator, 1);
  const withoutSums = await stepTime(apart, 1);
  const parameters = clip().parameterCount;
  const gradients = new Float32Array(parameters);
  const sums: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    sums.push(await timed(() => communicator.allReduce(gradients)));
    await communicator.barrier();
  }
  return {
    memcpy: median(rounds.memcpy),
    allReduce: median(rounds.allReduce),
    allGather: median(rounds.allGather),
    step,
    withoutSums,
    sums: median(sums),
    parameters,
  };
}

/** A step of one process with as many threads as there are ranks, in milliseconds. */
export async function measureAlone(): Promise<number> {
  return stepTime(solo(), RANKS);
}

async function measure(mpirun: Mpirun) {
  const program = programOf<Awaited<ReturnType<typeof measureRank>>>(
    import.meta.url,
    "measureRank",
  );
  // One after the other, and both twice: what else the machine does changes with time.
  const alone: number[] = [];
  const ranks: Awaited<ReturnType<typeof measureRank>>[] = [];
  for (let i = 0; i < 2; i++) {
    alone.push(await inFreshProcess<number>(import.meta.url, "measureAlone"));
    ranks.push((await resultsOf(mpirun, RANKS, program))[0]!);
  }
  const best = <K extends keyof (typeof ranks)[0]>(key: K) =>
    Math.min(...ranks.map((figures) => figures[key]));
  const notHidden = Math.max(0, best("step") - best("withoutSums"));
  return {
    timesMemcpyOfAllReduce: best("allReduce") / best("memcpy"),
    timesMemcpyOfAllGather: best("allGather") / best("memcpy"),
    msOfAllReduce: best("allReduce"),
    msOfAllGather: best("allGather"),
    megabytes: (4 * NUMBERS) / 1e6,
    parameters: ranks[0]!.parameters,
    msOfStep: best("step"),
    msOfSums: best("sums"),
    overlap: Math.min(1, 1 - notHidden / best("sums")),
    efficiency: Math.min(...alone) / best("step"),
  };
}

/** Runs the benchmark with each MPI that is installed. */
export async function benchDistributed() {
  if (mpiruns.length === 0) {
    throw new Error("No mpirun is installed: docs/distributed.md says how to install one.");
  }
  const byFamily: Record<string, Awaited<ReturnType<typeof measure>>> = {};
  for (const mpirun of mpiruns) {
    const figures = await measure(mpirun);
    byFamily[mpirun.family] = figures;
    console.log(
      `${mpirun.family}: ${figures.megabytes.toFixed(0)} MB are all-reduced in ` +
        `${figures.timesMemcpyOfAllReduce.toFixed(1)} and all-gathered in ` +
        `${figures.timesMemcpyOfAllGather.toFixed(1)} times a memcpy's time; ` +
        `${(100 * figures.overlap).toFixed(0)} % of the gradients' sum is hidden; ${RANKS} ranks of one ` +
        `thread have ${(100 * figures.efficiency).toFixed(0)} % of the speed of one rank of ${RANKS}`,
    );
  }
  return {
    efficiency: Math.min(...Object.values(byFamily).map(({ efficiency }) => efficiency)),
    ...byFamily,
  };
}
