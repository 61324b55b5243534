/** Optimizers, parameter groups, running means and starting weights, through whole runs. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Sample } from "../data/index.js";
import { loadModel, modelFiles } from "../model/index.js";
import { latestCheckpoint, saveCheckpoint } from "./checkpoint.js";
import { readMetrics } from "./metrics.js";
import type { TrainingOptions } from "./options.js";
import { resumeRun } from "./resume-run.js";
import { runFiles } from "./run-folder.js";
import { startRun } from "./start-run.js";
import { survey } from "./survey.js";
import { colourSamples, stopAfter, TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";

let root: string;
let samples: Sample[];
/** A finished run. */
let trained: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-fine-tuning-"));
  samples = await colourSamples(join(root, "pictures"));
  trained = newFolder();
  await run(trained, {});
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);
const fast: TrainingOptions = { steps: 10, batchSize: 4, learningRate: 5e-3, warmupSteps: 2 };

function run(out: string, training: TrainingOptions, options: Partial<TrainOptions> = {}) {
  return train({
    out,
    samples,
    model: { clip: tinyClip },
    training: { ...fast, ...training },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...options,
  });
}

const weightsOf = async (folder: string) => (await loadModel(folder)).weights;
const checkpointOf = async (folder: string) =>
  (await latestCheckpoint(join(folder, runFiles.checkpoints))).latest!;
const losses = (folder: string) =>
  readMetrics(join(folder, runFiles.metrics)).map(({ loss }) => loss as number);
const data = (known: readonly Sample[]) => () => survey([known], 0);
const startingWeights = async (training: TrainingOptions) =>
  (await startRun(newFolder(), data(samples), { model: { clip: tinyClip }, training })).weights;

/** Names of what differs between two sets of weights. */
function changed(
  a: ReadonlyMap<string, ArrayLike<number>>,
  b: ReadonlyMap<string, ArrayLike<number>>,
): string[] {
  return [...a.keys()].filter((name) => {
    const other = b.get(name);
    return !other || Array.from(a.get(name)!).some((value, i) => value !== other[i]);
  });
}

test("Lion, groups, a floor and running means go on after a stop as if there had been none", async () => {
  const training: TrainingOptions = {
    optimizer: "lion",
    learningRate: 1e-3,
    betas: [0.9, 0.99],
    schedule: "linear",
    learningRateFloor: 1e-4,
    layerDecay: 0.8,
    learningRateFactors: { textEncoder: 0.5 },
    freeze: [
      { match: "visual_transformer.pos_emb.weight" },
      { match: "text_transformer.*", untilStep: 6 },
    ],
    ema: 0.9,
  };
  const [whole, parts] = [newFolder(), newFolder()];
  await run(whole, training);
  await run(parts, training, { signal: stopAfter(4) });
  await run(parts, training, { resume: true, signal: stopAfter(4) });
  await run(parts, training, { resume: true });
  assert.deepEqual(losses(parts), losses(whole));
  assert.deepEqual(await weightsOf(parts), await weightsOf(whole));
  assert.deepEqual((await checkpointOf(parts)).tensors, (await checkpointOf(whole)).tensors);
  const rates = readMetrics(join(whole, runFiles.metrics)).map((line) => line.learningRate);
  assert.ok(Math.abs((rates.at(-1) as number) - (1e-4 + 9e-4 / 8)) < 1e-9, `${rates.at(-1)}`);
});

test("the model saved is the running mean of the weights, the checkpoint has both", async () => {
  const out = newFolder();
  await run(out, { ema: 0.99, schedule: "constant" });
  const weights = await weightsOf(out);
  const { tensors } = await checkpointOf(out);
  for (const name of ["temperature", "to_text_latent.weight"]) {
    assert.deepEqual(weights.get(name), tensors.get(`ema.${name}`)!.data);
    assert.notDeepEqual(weights.get(name), tensors.get(name)!.data);
  }
});

test("parameters frozen for all steps stay, have no moments, and no gradients are computed", async () => {
  const freeze = [{ match: "visual_transformer.*" }];
  const start = await startingWeights({ freeze });
  const out = newFolder();
  await run(out, { freeze, ema: 0.9 });
  const names = changed(await weightsOf(out), start);
  assert.ok(names.includes("text_transformer.token_emb.weight"), names.join());
  assert.ok(names.includes("to_visual_latent.weight"));
  assert.ok(!names.some((name) => name.startsWith("visual_transformer.")), names.join());
  const { tensors } = await checkpointOf(out);
  assert.ok(tensors.has("visual_transformer.pos_emb.weight"));
  assert.ok(![...tensors.keys()].some((name) => /^(adamw|ema)\..*visual_transf/.test(name)));
});

test("parameters frozen up to a step learn from it on, their moments untouched before", async () => {
  const freeze = [{ match: "text_transformer.*", untilStep: 5 }];
  const start = await startingWeights({ freeze });
  const out = newFolder();
  await run(out, { freeze }, { signal: stopAfter(5) });
  const { tensors } = await checkpointOf(out);
  const name = "text_transformer.token_emb.weight";
  assert.deepEqual(tensors.get(name)!.data, start.get(name));
  assert.ok(tensors.get(`adamw.m.${name}`)!.data.every((value) => value === 0));
  assert.equal(tensors.get(`adamw.step.${name}`)!.data[0], 0);
  assert.equal(tensors.get("adamw.step.to_text_latent.weight")!.data[0], 5);
  await run(out, { freeze }, { resume: true });
  assert.notDeepEqual((await weightsOf(out)).get(name), start.get(name));
  assert.equal((await checkpointOf(out)).tensors.get(`adamw.step.${name}`)!.data[0], 5);
});

test("a checkpoint that has moments of frozen parameters can be resumed", async () => {
  const out = newFolder();
  await run(out, { freezeImageEncoder: true }, { signal: stopAfter(3) });
  const { step, state, tensors } = await checkpointOf(out);
  const name = "visual_transformer.pos_emb.weight";
  const more = new Map(tensors).set(`adamw.m.${name}`, tensors.get(name)!);
  await saveCheckpoint(join(out, runFiles.checkpoints), { step, state, tensors: more });
  assert.ok((await run(out, {}, { resume: true })).finished);
});

test("a run starts from another's weights, options and tokenizer", async () => {
  const out = newFolder();
  const model = { clip: { decoupledContrastiveLearning: true } };
  const training = { ...fast, init: { from: trained } };
  const start = await startRun(out, data(samples.slice(0, 4)), { model, training });
  const source = await loadModel(trained);
  assert.deepEqual(start.weights, source.weights);
  const { decoupledContrastiveLearning, ...options } = start.config.clip;
  assert.ok(decoupledContrastiveLearning);
  const { decoupledContrastiveLearning: _, ...own } = source.config.clip;
  assert.deepEqual(options, own);
  assert.deepEqual(start.tokenizer.encode("magenta"), source.tokenizer.encode("magenta"));
  assert.deepEqual(start.warnings, []);
  // Resumed before its first checkpoint it starts there again.
  assert.deepEqual((await resumeRun(out, async () => 4)).weights, source.weights);

  const again = newFolder();
  await run(again, { init: { from: trained } }, { model: { clip: {} } });
  assert.ok(losses(again)[0]! < losses(trained)[0]!, "it begins where the other has ended");
});

test("a run with new parts takes what there is, and says what starts afresh", async () => {
  const { weights, warnings } = await startRun(newFolder(), data(samples), {
    model: { clip: { sigmoidLoss: true } },
    training: { init: { from: trained } },
  });
  assert.deepEqual(warnings, [`${trained} does not have these, which start afresh: logit_bias.`]);
  assert.deepEqual(
    changed(await weightsOf(trained), weights),
    [],
    "the others are the model's own",
  );
});

test("without the text encoder's weights, captions get a tokenizer of their own", async () => {
  const others = samples.map((sample) => ({ ...sample, captions: [`ein ${sample.captions[0]}`] }));
  const { config, tokenizer, weights } = await startRun(newFolder(), data(others), {
    training: { init: { from: trained, only: "visual_transformer.*" } },
  });
  const source = await loadModel(trained);
  assert.ok(tokenizer.encode("ein black").length < source.tokenizer.encode("ein black").length);
  assert.equal(config.clip.numTextTokens, tokenizer.vocabularySize);
  assert.equal(config.clip.dimText, tinyClip.dimText);
  const taken = [...source.weights.keys()].filter((name) => name.startsWith("visual_transformer."));
  for (const name of taken) assert.deepEqual(weights.get(name), source.weights.get(name), name);
  for (const name of ["to_visual_latent.weight", "text_transformer.abs_pos_emb.weight"]) {
    assert.notDeepEqual(weights.get(name), source.weights.get(name), name);
  }
});

test("weights that do not fit are refused by name, before anything is written", async () => {
  const out = newFolder();
  const start = (run: Parameters<typeof startRun>[2]) => startRun(out, data(samples), run);
  const init = { from: trained };
  const refuses = (run: Parameters<typeof startRun>[2], message: RegExp) =>
    assert.rejects(start(run), { name: "ClipsmithError", message });
  await refuses(
    { model: { clip: { visualImageSize: 16 } }, training: { init } },
    /do not fit the model: visual_transformer\.pos_emb\.weight should be \[16, 16\], is \[4, 16\]\./,
  );
  await refuses({ training: { init }, vocabularySize: 300 }, /Leave out --tokenizer/);
  await refuses(
    { training: { init: { ...init, only: "visual.*" } } },
    /^training\.init: .*no parameter is named visual\.\*;/,
  );
  await refuses({ training: { init: { from: join(root, "none") } } }, /is not a model's folder/);
  await refuses(
    { training: { freeze: [{ match: "nothing" }] } },
    /^training\.freeze: no parameter is named nothing/,
  );
  await refuses({ training: { learningRateFloor: 1 } }, /learningRateFloor is 1, above/);
  await assert.rejects(readFile(join(out, runFiles.training)), { code: "ENOENT" });
  await assert.rejects(
    startRun(trained, data(samples), { training: { init }, overwrite: true }),
    /cannot start the run that replaces it/,
  );
  // A model without its weights.
  const unfinished = newFolder();
  await cp(trained, unfinished, { recursive: true });
  await rm(join(unfinished, modelFiles.weights));
  await refuses({ training: { init: { from: unfinished } } }, /model\.safetensors/);
  await writeFile(join(unfinished, modelFiles.weights), "x");
  await refuses({ training: { init: { from: unfinished } } }, /model\.safetensors/);
});
