/** What docs/fine-tuning.md promises, with its own settings, on drawings of a few shapes in a few colours. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { CLIP } from "../clip/index.js";
import type { Sample } from "../data/index.js";
import { type Evaluation, evaluate } from "../eval/index.js";
import { loadModel, Model } from "../model/index.js";
import { random } from "../util/random.js";
import { TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";

const PAGE = fileURLToPath(new URL("../../../docs/fine-tuning.md", import.meta.url));
const PICTURES = 200;
const HELD_OUT = 80;
const SIZE = 24;

const colours = { red: "rot", green: "grün", blue: "blau", yellow: "gelb", white: "weiß" };
const shapes = { square: "Quadrat", circle: "Kreis", bar: "Balken", pillar: "Säule" };

let root: string;
let samples: Sample[];
let heldOut: Sample[];
/** Each with a German caption. */
let german: Sample[];
let germanHeldOut: Sample[];
/** The model that the others start from. */
let small: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-recipes-"));
  [samples, german] = await draw("train", PICTURES);
  [heldOut, germanHeldOut] = await draw("held out", HELD_OUT);
});
after(() => rm(root, { recursive: true }));

/** One thing on a background of some grey, at a random place; with captions in English and in German. */
async function draw(name: string, count: number): Promise<[Sample[], Sample[]]> {
  const folder = join(root, name);
  await mkdir(folder);
  const stream = random("drawings", name);
  const pick = (words: Readonly<Record<string, string>>) =>
    Object.entries(words)[stream.integer(Object.keys(words).length)]!;
  const drawn: [Sample, Sample][] = [];
  for (let i = 0; i < count; i++) {
    const [[colour, farbe], [shape, form]] = [pick(colours), pick(shapes)];
    const radius = stream.between(5, 8);
    const [x, y] = [stream.between(radius, SIZE - radius), stream.between(radius, SIZE - radius)];
    const [width, height] = [shape === "pillar" ? 0.4 : 1, shape === "bar" ? 0.4 : 1];
    const box = `x="${x - radius * width}" y="${y - radius * height}" width="${2 * radius * width}" height="${2 * radius * height}"`;
    const thing = shape === "circle" ? `<circle cx="${x}" cy="${y}" r="${radius}"` : `<rect ${box}`;
    const grey = Math.round(stream.between(40, 130));
    const picture = join(folder, `${i}.png`);
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIZE}" height="${SIZE}"><rect width="100%" height="100%" fill="rgb(${grey},${grey},${grey})"/>${thing} fill="${colour}"/></svg>`;
    await sharp(Buffer.from(svg)).png().toFile(picture);
    drawn.push([
      { picture, captions: [`a ${colour} ${shape}`] },
      { picture, captions: [`${form} in ${farbe}`] },
    ]);
  }
  return [drawn.map(([english]) => english), drawn.map(([, other]) => other)];
}

/** The JSON in the page's block after the line that names its file. */
async function settings(name: string): Promise<Pick<TrainOptions, "model" | "training">> {
  const page = await readFile(PAGE, "utf8");
  const [, json] = new RegExp(`\`${name}\`[^\`]*\n\`\`\`json\n(.*?)\`\`\``, "s").exec(page) ?? [];
  assert.ok(json, `docs/fine-tuning.md has no ${name}`);
  return JSON.parse(json);
}

const shape = { ...tinyClip, dimText: 32, dimImage: 32, dimLatent: 32, visualImageSize: SIZE };
const clip = { ...shape, visualEncDepth: 2, textDimHead: 16, visualDimHead: 16 };

async function run(
  name: string,
  captioned: readonly Sample[],
  steps: number,
  { training, ...options }: Partial<TrainOptions>,
): Promise<string> {
  const out = join(root, name);
  const progress = { stream: new TextSink() };
  await train({
    out,
    samples: captioned,
    training: { ...training, steps },
    runtime: { threads: 1 },
    progress,
    ...options,
  });
  return out;
}

/** Recall on pictures that were not trained on, and the mean cosine of different pictures' latents. */
async function measure(
  folder: string,
  captioned: readonly Sample[],
): Promise<{ recall: Evaluation; likeness: number }> {
  const model = await Model.load(folder, { threads: 1 });
  try {
    const { embeddings } = await model.embedPictures(captioned.map(({ picture }) => picture));
    const sum = new Float64Array(model.width);
    embeddings.forEach((value, i) => {
      sum[i % model.width]! += value;
    });
    const count = captioned.length;
    const likeness = (sum.reduce((a, x) => a + x * x, 0) - count) / (count * (count - 1));
    return { recall: await evaluate(model, captioned), likeness };
  } finally {
    await model.release();
  }
}

test("200 pictures teach a model, and its latents do not collapse", async (t) => {
  const { training } = await settings("small.json");
  small = await run("small", samples, 200, { model: { clip }, training: training! });
  const { parameterCount } = new CLIP((await loadModel(small)).config.clip);
  const { recall, likeness } = await measure(small, heldOut);
  t.diagnostic(
    `${parameterCount} parameters; ${JSON.stringify(recall.imageToText)}, cosine ${likeness}`,
  );
  const { r1, r5, chance } = recall.imageToText;
  assert.ok(r1 > 8 * chance.r1 && r5 > 0.9, `recall ${r1}, ${r5}; chance ${chance.r1}`);
  assert.ok(recall.textToImage.r1 > 8 * recall.textToImage.chance.r1);
  assert.ok(likeness < 0.3, `mean cosine ${likeness}`);
});

test("without warm-up a rate that is too high collapses all latents, with it they stay apart", async (t) => {
  const { training } = await settings("small.json");
  // Runs at such a rate are chaotic: each number is the mean of three seeds.
  const likenessAfter = async (warmupSteps: number) => {
    const found: number[] = [];
    for (const seed of [0, 1, 2]) {
      const wild = { ...training, learningRate: 0.03, warmupSteps, seed };
      const name = `warm-up ${warmupSteps}, seed ${seed}`;
      const out = await run(name, samples, 80, { model: { clip }, training: wild });
      found.push((await measure(out, heldOut)).likeness);
    }
    t.diagnostic(`mean cosines ${found.join(", ")} with ${warmupSteps} steps of warm-up`);
    return found.reduce((sum, value) => sum + value) / found.length;
  };
  const [without, with30] = [await likenessAfter(0), await likenessAfter(30)];
  assert.ok(without > 0.6, `mean cosine ${without}`);
  assert.ok(with30 < 0.3, `mean cosine ${with30}`);
});

test("LiT learns new texts for a frozen image encoder sooner than all from nothing", async (t) => {
  const { training } = await settings("lit.json");
  const init = { ...training!.init!, from: small };
  const lit = await run("lit", german, 60, { training: { ...training, init } });
  const { init: _, freeze: __, ...others } = training!;
  const scratch = await run("scratch", german, 60, { model: { clip }, training: others });
  const recalls = [];
  for (const folder of [lit, scratch]) {
    recalls.push((await measure(folder, germanHeldOut)).recall.imageToText);
  }
  const [ours, theirs] = recalls as [(typeof recalls)[0], (typeof recalls)[0]];
  t.diagnostic(`recall ${ours.r1} of LiT, ${theirs.r1} from nothing, chance ${ours.chance.r1}`);
  assert.ok(ours.r1 > 8 * ours.chance.r1 && ours.r1 > 1.3 * theirs.r1);
  const [after, before] = [await loadModel(lit), await loadModel(small)];
  for (const [name, values] of before.weights) {
    if (name.startsWith("visual_transformer.")) assert.deepEqual(after.weights.get(name), values);
  }
});
