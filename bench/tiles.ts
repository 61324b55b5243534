/**
 * `npm run bench -- tiles [BATCH]`: loss and latent gradients of a batch of 65,536 pairs, 512 wide, tile by
 * tile: peak memory of the process, time beside that of its matrix products alone, and how much a batch that
 * fits in memory differs from the untiled objective in double precision.
 */
import { availableParallelism } from "node:os";
import { type ClipOptions, clipOptionsSchema, objective } from "../src/clip/index.js";
import { exp, grad, graph, input, matmul } from "../src/graph/index.js";
import { Program } from "../src/runtime/index.js";
import { TiledObjective } from "../src/train/index.js";
import { random } from "../src/util/random.js";
import { inFreshProcess } from "./fresh-process.js";

const WIDTH = 512;
const BATCH = 65_536;
/** Pairs of the batch that is also computed untiled. */
const SMALL = 2048;
/** A tile of which the small batch has several, with smaller ones at the edges. */
const SMALL_TILE = 600;
/** The scale in training lies between e, where it starts, and 100, where it ends. */
const TEMPERATURE = Math.log(20);

/** Those that ONNX Runtime also computes in double precision: SigLIP's softplus it doesn't. */
const objectives: Readonly<Record<string, ClipOptions>> = {
  InfoNCE: {},
  DCL: { decoupledContrastiveLearning: true },
  CLOOB: { hopfieldRetrieval: true },
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

const scalars = { temperature: TEMPERATURE };

async function open(options: ClipOptions, tile: number | undefined): Promise<TiledObjective> {
  const clip = { options: clipOptionsSchema.parse({ ...options, dimLatent: WIDTH }) };
  const runtime = { threads: availableParallelism() };
  return TiledObjective.open({ clip, runtime, ...(tile && { tile }) });
}

/** How long something took, in seconds: by the clock, and of processors. */
interface Times {
  readonly clock: number;
  readonly processor: number;
}

async function timed(f: () => Promise<unknown>): Promise<Times> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await f();
  const clock = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { clock, processor: (user + system) / 1e6 };
}

/** Plain products of 2048 x 2048 matrices: the shortest times of several, for 10^9 operations. */
async function productTimes(program: Program): Promise<Times> {
  const side = 2048;
  const square = new Float32Array(side ** 2).fill(0.5);
  const c = new Float32Array(side ** 2);
  const rounds: Times[] = [];
  for (let round = 0; round < 10; round++) {
    rounds.push(await timed(() => program.run({ a: square, b: square }, { c })));
  }
  const gflop = (2 * side ** 3) / 1e9;
  const least = (what: keyof Times) => Math.min(...rounds.map((times) => times[what])) / gflop;
  return { clock: least("clock"), processor: least("processor") };
}

/**
 * One batch: seconds, peak memory of the process in MB, and the time over that of its matrix products at the
 * speed of the fastest that is found before and after: by the clock, and of processors.
 */
export async function measure(batch: number, tile: number) {
  const threads = availableParallelism();
  const all = latents(batch);
  const tiled = await open({}, tile || undefined);
  const square = (name: string) => input(name, [2048, 2048]);
  const product = graph({ c: matmul(square("a"), square("b")) });
  const program = await Program.compile(product, { threads });
  const before = await productTimes(program);
  let loss = Number.NaN;
  const times = await timed(async () => {
    const { terms } = await tiled.run(all, scalars, new Int32Array(), { contrastive: 1 });
    loss = terms.contrastive;
  });
  const after = await productTimes(program);
  await program.release();
  await tiled.release();
  // Similarities twice, once for the statistics, and the gradients of texts and of images.
  const gflop = (4 * 2 * batch ** 2 * WIDTH) / 1e9;
  const over = (what: keyof Times) => times[what] / (gflop * Math.min(before[what], after[what]));
  return {
    loss,
    seconds: times.clock,
    gflopPerSecond: gflop / times.clock,
    ceilings: [1 / before.clock, 1 / after.clock],
    timesCeiling: over("clock"),
    timesCeilingOfProcessor: over("processor"),
    peakMB: process.resourceUsage().maxRSS / 1024,
  };
}

/**
 * Largest difference to the untiled objective in double precision, in loss and gradients, each over the largest
 * value; and, as `untiled`, that of the untiled objective in float32, as training computes it.
 */
export async function measureError(name: string): Promise<{ tiled: number; untiled: number }> {
  const chosen = objectives[name]!;
  const all = latents(SMALL);
  const tiled = await open(chosen, SMALL_TILE);
  const { terms, gradients } = await tiled.run(all, scalars, new Int32Array(), { contrastive: 1 });
  await tiled.release();
  const feeds = {
    text: all.texts[0]!.text,
    image: all.images[0]!.image,
    temperature: Float32Array.of(scalars.temperature),
  };
  const expected = await untiled(chosen, "float64", feeds);
  const found = {
    loss: [terms.contrastive],
    text: gradients.texts[0]!.text,
    image: gradients.images[0]!.image,
    temperature: [gradients.temperature],
  };
  return {
    tiled: difference(found, expected),
    untiled: difference(await untiled(chosen, "float32", feeds), expected),
  };
}

type Results = Readonly<Record<string, ArrayLike<number>>>;

/** Loss and gradients of the untiled objective. */
async function untiled(
  chosen: ClipOptions,
  dtype: "float32" | "float64",
  values: Readonly<Record<string, Float32Array>>,
): Promise<Results> {
  const options = clipOptionsSchema.parse({ ...chosen, dimLatent: WIDTH });
  const text = input("text", [SMALL, WIDTH], dtype);
  const image = input("image", [SMALL, WIDTH], dtype);
  const temperature = input("temperature", [], dtype);
  const { contrastive: loss } = objective(
    options,
    { texts: [{ text }], images: [{ image }] },
    { scale: exp(temperature), bias: undefined },
  );
  const [ofText, ofImage, ofTemperature] = grad(loss, [text, image, temperature]);
  const program = await Program.compile(
    graph({ loss, ofText: ofText!, ofImage: ofImage!, ofTemperature: ofTemperature! }),
    { threads: availableParallelism() },
  );
  const feeds = Object.entries(values).map(([name, x]) => [
    name,
    dtype === "float64" ? Float64Array.from(x) : x,
  ]);
  const found = (await program.run(Object.fromEntries(feeds))) as Record<string, Float32Array>;
  await program.release();
  return {
    loss: found.loss!,
    text: found.ofText!,
    image: found.ofImage!,
    temperature: found.ofTemperature!,
  };
}

function difference(actual: Results, expected: Results): number {
  const errors = Object.entries(expected).map(([name, values]) => {
    let [error, largest] = [0, 0];
    for (let i = 0; i < values.length; i++) {
      error = Math.max(error, Math.abs(values[i]! - actual[name]![i]!));
      largest = Math.max(largest, Math.abs(values[i]!));
    }
    return error / largest;
  });
  return Math.max(...errors);
}

/** Runs the benchmark, each measurement in a fresh process. */
export async function benchTiles(parameters: readonly string[] = []) {
  const batch = Number(parameters[0] ?? BATCH);
  const tile = Number(parameters[1] ?? 0);
  const fresh = <T>(name: string, ...values: readonly (string | number)[]) =>
    inFreshProcess<T>(import.meta.url, name, ...values);
  const errors: Record<string, Awaited<ReturnType<typeof measureError>>> = {};
  for (const name of Object.keys(objectives)) {
    const { tiled, untiled } = await fresh<Awaited<ReturnType<typeof measureError>>>(
      "measureError",
      name,
    );
    errors[name] = { tiled, untiled };
    console.log(
      `${name}, ${SMALL} pairs: ${tiled.toExponential(1)} from double precision, ` +
        `untiled ${untiled.toExponential(1)}`,
    );
  }
  const measured = await fresh<Awaited<ReturnType<typeof measure>>>("measure", batch, tile);
  console.log(
    `InfoNCE, ${batch} pairs, ${WIDTH} wide: ${measured.seconds.toFixed(1)} s, ` +
      `${measured.timesCeiling.toFixed(2)} times its products alone ` +
      `(${measured.timesCeilingOfProcessor.toFixed(2)} by processor time), ` +
      `peak ${measured.peakMB.toFixed(0)} MB`,
  );
  return { batch, ...measured, errors };
}
