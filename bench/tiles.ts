/**
 * `npm run bench -- tiles [BATCH]`: loss and latent gradients of a batch of 65,536 pairs, 512 wide, tile by
 * tile: peak memory of the process, time beside that of its matrix products alone, and how much a batch that
 * fits in memory differs from the untiled objective.
 */
import { availableParallelism } from "node:os";
import { type ClipOptions, clipOptionsSchema, objective } from "../src/clip/index.js";
import { exp, grad, graph, input } from "../src/graph/index.js";
import { Program } from "../src/runtime/index.js";
import { TiledObjective } from "../src/train/index.js";
import { random } from "../src/util/random.js";
import { sgemmCeiling } from "./ceiling.js";
import { inFreshProcess } from "./fresh-process.js";

const WIDTH = 512;
const BATCH = 65_536;
/** Pairs of the batch that is also computed untiled. */
const SMALL = 2048;
/** A tile of which the small batch has several, with smaller ones at the edges. */
const SMALL_TILE = 600;
/** The scale in training lies between e, where it starts, and 100, where it ends. */
const TEMPERATURE = Math.log(20);

const objectives: Readonly<Record<string, ClipOptions>> = {
  InfoNCE: {},
  DCL: { decoupledContrastiveLearning: true },
  CLOOB: { hopfieldRetrieval: true },
  SigLIP: { sigmoidLoss: true },
};

/** Vectors of length 1; `texts` and `images` of a pair resemble each other. */
function latents(batch: number) {
  const text = new Float32Array(batch * WIDTH);
  const image = new Float32Array(batch * WIDTH);
  const stream = random("tiles");
  for (let start = 0; start < text.length; start += WIDTH) {
    for (let i = start; i < start + WIDTH; i++) {
      const common = stream.uint32() / 2 ** 31 - 1;
      text[i] = common + stream.uint32() / 2 ** 31 - 1;
      image[i] = common + stream.uint32() / 2 ** 31 - 1;
    }
    for (const vectors of [text, image]) {
      const vector = vectors.subarray(start, start + WIDTH);
      const length = Math.hypot(...vector);
      for (let i = 0; i < WIDTH; i++) vector[i]! /= length;
    }
  }
  return { batch, texts: [{ text }], images: [{ image }] };
}

const scalars = { temperature: TEMPERATURE, bias: -10 };

async function open(options: ClipOptions, tile: number | undefined): Promise<TiledObjective> {
  const clip = { options: clipOptionsSchema.parse({ ...options, dimLatent: WIDTH }) };
  const runtime = { threads: availableParallelism() };
  return TiledObjective.open({ clip, runtime, ...(tile && { tile }) });
}

/**
 * One batch: seconds, peak memory of the process in MB, and the time over that of the products alone, at the
 * speed of the fastest that is found before and after.
 */
export async function measure(batch: number, tile: number) {
  const threads = availableParallelism();
  const all = latents(batch);
  const tiled = await open({}, tile || undefined);
  const before = await sgemmCeiling(threads);
  const start = performance.now();
  const { terms } = await tiled.run(all, scalars, new Int32Array(), { contrastive: 1 });
  const seconds = (performance.now() - start) / 1000;
  const after = await sgemmCeiling(threads);
  await tiled.release();
  // Similarities twice, once for the statistics, and the gradients of texts and of images.
  const gflop = (4 * 2 * batch ** 2 * WIDTH) / 1e9;
  return {
    loss: terms.contrastive,
    seconds,
    gflopPerSecond: gflop / seconds,
    ceilings: [before, after],
    timesCeiling: (seconds * Math.max(before, after)) / gflop,
    peakMB: process.resourceUsage().maxRSS / 1024,
  };
}

/** Largest difference to the untiled objective, in loss and gradients, each over the largest value. */
export async function measureError(name: string): Promise<number> {
  const chosen = objectives[name]!;
  const all = latents(SMALL);
  const tiled = await open(chosen, SMALL_TILE);
  const { terms, gradients } = await tiled.run(all, scalars, new Int32Array(), { contrastive: 1 });
  await tiled.release();

  const options = clipOptionsSchema.parse({ ...chosen, dimLatent: WIDTH });
  const inputs = {
    text: input("text", [SMALL, WIDTH]),
    image: input("image", [SMALL, WIDTH]),
    temperature: input("temperature", []),
  };
  const { contrastive } = objective(
    options,
    { texts: [{ text: inputs.text }], images: [{ image: inputs.image }] },
    { scale: exp(inputs.temperature), bias: options.sigmoidLoss ? input("bias", []) : undefined },
  );
  const [text, image, temperature] = grad(contrastive, Object.values(inputs));
  const outputs = { loss: contrastive, ofText: text!, ofImage: image!, ofScale: temperature! };
  const program = await Program.compile(graph(outputs), { threads: availableParallelism() });
  const found = await program.run({
    text: all.texts[0]!.text,
    image: all.images[0]!.image,
    temperature: Float32Array.of(scalars.temperature),
    bias: Float32Array.of(scalars.bias),
  });
  await program.release();
  const error = (name: string, actual: ArrayLike<number>) => {
    const expected = found[name] as Float32Array;
    const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    return expected.reduce((most, x, i) => Math.max(most, Math.abs(x - actual[i]!)), 0) / scale;
  };
  return Math.max(
    error("loss", [terms.contrastive]),
    error("ofText", gradients.texts[0]!.text),
    error("ofImage", gradients.images[0]!.image),
    error("ofScale", [gradients.temperature]),
  );
}

/** Runs the benchmark, each measurement in a fresh process. */
export async function benchTiles(parameters: readonly string[] = []) {
  const batch = Number(parameters[0] ?? BATCH);
  const tile = Number(parameters[1] ?? 0);
  const fresh = <T>(name: string, ...values: readonly (string | number)[]) =>
    inFreshProcess<T>(import.meta.url, name, ...values);
  const errors: Record<string, number> = {};
  for (const name of Object.keys(objectives)) {
    errors[name] = await fresh<number>("measureError", name);
    console.log(`${name}: ${SMALL} pairs differ from untiled by ${errors[name].toExponential(1)}`);
  }
  const measured = await fresh<Awaited<ReturnType<typeof measure>>>("measure", batch, tile);
  console.log(
    `InfoNCE, ${batch} pairs, ${WIDTH} wide: ${measured.seconds.toFixed(1)} s, ` +
      `${measured.timesCeiling.toFixed(2)} times its products alone, peak ${measured.peakMB.toFixed(0)} MB`,
  );
  return { batch, ...measured, errors };
}
