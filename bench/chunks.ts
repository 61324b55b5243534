/**
 * `npm run bench -- chunks`: a step in chunks: peak memory of the process by batch size, and time against
 * the step that holds the whole batch at once.
 */
import { availableParallelism } from "node:os";
import { CLIP } from "../src/clip/index.js";
import { initialize } from "../src/nn/index.js";
import { type BatchPictures, type ChunkedBatch, inMemory, type Range } from "../src/train/batch.js";
import { TrainingStep } from "../src/train/index.js";
import { random } from "../src/util/random.js";
import { inFreshProcess } from "./fresh-process.js";
import { median } from "./median.js";

/** The README's model, 256 wide and 4 layers deep. */
const clip = () =>
  new CLIP({
    dimText: 256,
    dimImage: 256,
    dimLatent: 256,
    numTextTokens: 10_000,
    textEncDepth: 4,
    textSeqLen: 256,
    textHeads: 4,
    visualEncDepth: 4,
    visualImageSize: 256,
    visualPatchSize: 32,
    visualHeads: 4,
    visualPatchDropout: 0.5,
  });

const CHUNK = 32;
const batchSizes = [64, 512, 4096, 16_384] as const;
/** Batch of the comparison with the step at once, and how many times they are compared. */
const COMPARED = 128;
const ROUNDS = 5;

async function compile(batchSize: number, chunkSize: number): Promise<TrainingStep> {
  const model = clip();
  return TrainingStep.compile({
    clip: model,
    batchSize,
    chunkSize,
    textLength: model.options.textSeqLen,
    weights: initialize(model.parameters, 0),
    runtime: { threads: availableParallelism() },
  });
}

/** Pictures are made when they are asked for, the same ones each time: no batch of them is in memory. */
function batchOf(batchSize: number): ChunkedBatch {
  const { options, keptPatches, patches } = clip();
  const stream = random("chunks");
  const area = options.channels * options.visualImageSize ** 2;
  const pictures = async ([start, end]: Range): Promise<BatchPictures> => {
    const image = new Float32Array((end - start) * area);
    for (let row = start; row < end; row++) {
      // A slope of its own for each picture: noise would take longer to draw than to encode.
      const tilt = random("picture", row).normal();
      const offset = (row - start) * area;
      for (let i = 0; i < area; i++) image[offset + i] = tilt * ((i % 97) / 48 - 1);
    }
    return { image };
  };
  const kept = new Int32Array(batchSize * keptPatches);
  for (let row = 0; row < batchSize; row++) {
    kept.set(stream.permutation(patches).subarray(0, keptPatches), row * keptPatches);
  }
  const { numTextTokens, textSeqLen } = options;
  const token = () => 1 + stream.integer(numTextTokens - 1);
  const text = new Int32Array(batchSize * textSeqLen).map(token);
  return { text, patchIndices: kept, pictures };
}

/** Figures of one step of a batch in chunks, in this process. */
export async function measureChunks(batchSize: number) {
  const step = await compile(batchSize, CHUNK);
  const batch = batchOf(batchSize);
  const start = performance.now();
  await step.run(batch, { learningRate: 1e-4 });
  const seconds = (performance.now() - start) / 1000;
  return {
    peakMB: process.resourceUsage().maxRSS / 1024,
    msPerSample: (1000 * seconds) / batchSize,
  };
}

/** Both ways in turn in one process: the median of the ratios of their times. */
export async function measureTimes(): Promise<{ timesUnchunked: number }> {
  const whole = await compile(COMPARED, COMPARED);
  const chunked = await compile(COMPARED, CHUNK);
  const batch = await inMemory(batchOf(COMPARED), COMPARED);
  const timed = async (step: TrainingStep) => {
    const start = performance.now();
    await step.run(batch, { learningRate: 1e-4 });
    return performance.now() - start;
  };
  await timed(whole);
  await timed(chunked);
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [a, b] = [await timed(whole), await timed(chunked)];
    ratios.push(b / a);
  }
  return { timesUnchunked: median(ratios) };
}

/**
 * Runs the benchmark, each batch size in a fresh process.
 *
 * @param options the largest batch size; default 16,384, which takes half an hour on two cores.
 */
export async function benchChunks([largest = "16384"]: readonly string[]) {
  const peakMB: Record<string, number> = {};
  for (const batchSize of batchSizes.filter((size) => size <= Number(largest))) {
    const figures = await inFreshProcess<Awaited<ReturnType<typeof measureChunks>>>(
      import.meta.url,
      "measureChunks",
      batchSize,
    );
    peakMB[batchSize] = figures.peakMB;
    console.log(
      `batch ${batchSize} in chunks of ${CHUNK}: peak ${figures.peakMB.toFixed(0)} MB, ` +
        `${figures.msPerSample.toFixed(1)} ms a sample`,
    );
  }
  const { timesUnchunked } = await inFreshProcess<Awaited<ReturnType<typeof measureTimes>>>(
    import.meta.url,
    "measureTimes",
  );
  console.log(`batch ${COMPARED}: ${timesUnchunked.toFixed(2)} times the time of the step at once`);
  return { chunk: CHUNK, peakMB, timesUnchunked };
}
