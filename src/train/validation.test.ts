import assert from "node:assert/strict";
import { appendFileSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { CLIP } from "../clip/index.js";
import { isHeldOut } from "../data/held-out.js";
import type { Sample } from "../data/index.js";
import { evaluate } from "../eval/index.js";
import { loadModel, Model, modelFiles } from "../model/index.js";
import { initialize } from "../nn/index.js";
import { checkpointPath, loadCheckpoint } from "./checkpoint.js";
import { validationMetrics } from "./early-stop.js";
import { readMetrics } from "./metrics.js";
import type { TrainingOptions } from "./options.js";
import { runFiles } from "./run-folder.js";
import { colourSamples, learntMetrics, stopAfter, TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";
import { Validation } from "./validation.js";

let root: string;
let samples: Sample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-validation-"));
  samples = await colourSamples(join(root, "pictures"));
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);

function run(out: string, training: TrainingOptions, options: Partial<TrainOptions> = {}) {
  return train({
    out,
    samples,
    model: { clip: tinyClip },
    training: { steps: 12, batchSize: 4, learningRate: 5e-3, warmupSteps: 4, ...training },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...options,
  });
}

const metricsOf = (out: string) => learntMetrics(join(out, runFiles.metrics));
const validated = (out: string) =>
  metricsOf(out).filter((metrics) => metrics["validation.loss"] !== undefined);
const trained = (out: string) => metricsOf(out).filter(({ loss }) => loss !== undefined);

test("figures are those of evaluate, and the loss is that of whole batches", async () => {
  const out = newFolder();
  await run(out, { steps: 30 });
  const parts = await loadModel(out);
  const shared = samples.map((sample, i) => ({
    ...sample,
    name: sample.picture,
    captions: i < 2 ? ["Red", "black"] : i === 2 ? [" red"] : sample.captions,
  }));
  const broken = join(root, "broken.png");
  await writeFile(broken, "no picture");
  const clip = new CLIP(parts.config.clip);
  const validation = await Validation.open({
    ...{ clip, config: parts.config, tokenizer: parts.tokenizer, batchSize: 3 },
    samples: [...shared, { name: broken, picture: broken, captions: ["orange"] }],
    runtime: { threads: 1 },
  });
  try {
    assert.equal(validation.size, 8);
    assert.deepEqual(
      validation.skipped.map(({ where }) => where),
      [broken],
    );
    const figures = await validation.run(parts.weights);
    const model = new Model(parts, { threads: 1 });
    const expected = await evaluate(model, shared, { captionsPerPicture: "first" });
    const { r1, r5, r10 } = expected.textToImage;
    assert.deepEqual(
      ["r1", "r5", "r10"].map((cutoff) => figures[`textToImage.${cutoff}` as "loss"]),
      [r1, r5, r10],
    );
    assert.equal(figures["imageToText.r1"], expected.imageToText.r1);

    // Two whole batches of three; the last two samples count in the recalls alone.
    const texts = await model.embedTexts(shared.map(({ captions }) => captions[0]!));
    const { embeddings } = await model.embedPictures(shared.map(({ picture }) => picture));
    await model.release();
    const width = tinyClip.dimLatent!;
    const scale = Math.exp(parts.weights.get(CLIP.logitScale)![0]!);
    const logit = (t: number, i: number) => {
      let sum = 0;
      for (let x = 0; x < width; x++) sum += texts[t * width + x]! * embeddings[i * width + x]!;
      return scale * sum;
    };
    // The first two share their caption, so they are no negatives of each other.
    const batches = [
      [
        [0, 2],
        [1, 2],
        [2, 0, 1],
      ],
      [3, 4, 5].map((i) => [i, ...[3, 4, 5].filter((j) => j !== i)]),
    ];
    const loss = batches.map((rows) => {
      const logOf = (row: number[], of: (i: number) => number) =>
        Math.log(row.reduce((sum, i) => sum + Math.exp(of(i)), 0));
      const each = rows.map((row) => {
        const own = row[0]!;
        const both = logOf(row, (i) => logit(own, i)) + logOf(row, (i) => logit(i, own));
        return both / 2 - logit(own, own);
      });
      return each.reduce((sum, value) => sum + value, 0) / rows.length;
    });
    assert.ok(Math.abs(figures.loss - (loss[0]! + loss[1]!) / 2) < 1e-5, `${figures.loss} ${loss}`);

    // Other weights by the same program, and the first again.
    const others = await validation.run(initialize(clip.parameters, 3));
    assert.notEqual(others.loss, figures.loss);
    assert.deepEqual(await validation.run(parts.weights), figures);
  } finally {
    await validation.release();
  }
});

test("a run is validated every so many steps and in the end, and learns the same as without", async () => {
  const [plain, measured] = [newFolder(), newFolder()];
  const stream = new TextSink();
  await run(plain, {});
  const validation = { everySteps: 5 };
  await run(measured, { validation }, { validation: samples, progress: { stream } });
  assert.deepEqual(trained(measured), trained(plain));
  assert.deepEqual((await loadModel(measured)).weights, (await loadModel(plain)).weights);
  const rows = validated(measured);
  assert.deepEqual(
    rows.map(({ step }) => step),
    [5, 10, 12],
  );
  assert.deepEqual(Object.keys(rows[0]!), [
    "step",
    ...validationMetrics.map((name) => `validation.${name}`),
  ]);
  assert.match(
    stream.text,
    /Validation after step 5: loss \d\.\d{4}, recall at 1 .* of 8 pictures\./,
  );
  const model = await Model.load(measured, { threads: 1 });
  const { textToImage } = await evaluate(model, samples);
  await model.release();
  assert.equal(rows.at(-1)!["validation.textToImage.r1"], textToImage.r1);
});

test("without an interval the end is measured, with a short one every step", async () => {
  const out = newFolder();
  await run(out, { steps: 3 }, { validation: samples });
  assert.deepEqual(
    validated(out).map(({ step }) => step),
    [3],
  );
  const often = newFolder();
  await run(often, { steps: 3, validation: { everySeconds: 1e-6 } }, { validation: samples });
  assert.deepEqual(
    validated(often).map(({ step }) => step),
    [1, 2, 3],
  );
});

test("what is held out is not learnt from", async () => {
  const out = newFolder();
  await run(out, { validation: { part: 0.5 }, batchSize: 512, steps: 1 });
  const state = readFileSync(
    join(checkpointPath(join(out, runFiles.checkpoints), 1), "state.json"),
    "utf8",
  );
  const learnt = samples.filter(({ picture }) => !isHeldOut(picture, 0.5));
  assert.ok(learnt.length >= 2 && learnt.length <= 6);
  assert.equal(JSON.parse(state).state.batchSize, learnt.length);
  assert.equal(validated(out).length, 1);
});

test("a run that was stopped and resumed is equal to one that was not, validations too", async () => {
  const [whole, parts] = [newFolder(), newFolder()];
  const training: TrainingOptions = {
    validation: { everySteps: 3 },
    earlyStop: { patience: 100 },
    ema: 0.5,
  };
  const options = { validation: samples };
  await run(whole, training, options);
  await run(parts, training, { ...options, signal: stopAfter(6) });
  await run(parts, training, { ...options, resume: true, signal: stopAfter(2) });
  await run(parts, training, { ...options, resume: true });
  assert.deepEqual(metricsOf(parts), metricsOf(whole));
  assert.deepEqual((await loadModel(parts)).weights, (await loadModel(whole)).weights);
});

test("a run that gets no better ends early, as the model of its best validation", async () => {
  const out = newFolder();
  // It learns until the learning rate throws it away.
  const training: TrainingOptions = {
    ...{ steps: 400, batchSize: 8, learningRate: 5e-3, warmupSteps: 0, schedule: "constant" },
    validation: { everySteps: 4 },
    earlyStop: { metric: "textToImage.r1", patience: 3 },
    ema: 0.5,
  };
  const first = new TextSink();
  const result = await run(out, training, { validation: samples, progress: { stream: first } });
  assert.ok(result.finished);
  assert.ok(result.steps < 400, `${result.steps}`);
  const recalls = validated(out).map((row) => row["validation.textToImage.r1"] as number);
  const best = Math.max(...recalls);
  const place = recalls.indexOf(best);
  assert.equal(recalls.length, place + 1 + 3, "three validations that are no better");
  const step = validated(out)[place]!.step;
  assert.ok(first.text.includes(`Validation was best after step ${step}: the checkpoint`));
  const names = readdirSync(join(out, runFiles.checkpoints));
  assert.ok(
    names.some((name) => name.endsWith(`-${String(step).padStart(8, "0")}`)),
    "it is kept",
  );
  const { tensors } = await loadCheckpoint(checkpointPath(join(out, runFiles.checkpoints), step));
  for (const [name, values] of (await loadModel(out)).weights) {
    assert.deepEqual(values, (tensors.get(`ema.${name}`) ?? tensors.get(name))!.data, name);
  }
  const model = await Model.load(out, { threads: 1 });
  const { textToImage } = await evaluate(model, samples);
  await model.release();
  assert.equal(textToImage.r1, best);

  // It has ended: there is nothing to resume.
  const again = await run(out, training, { validation: samples, resume: true });
  assert.deepEqual([again.finished, again.steps], [true, result.steps]);
  assert.equal(readMetrics(join(out, runFiles.metrics)).at(-1)!.step, result.steps);

  // What the best checkpoint has lost by then is in the model; or else that is the last step's.
  const weights = join(out, modelFiles.weights);
  const made = readFileSync(weights);
  const tensorsFile = join(
    checkpointPath(join(out, runFiles.checkpoints), step),
    "tensors.safetensors",
  );
  appendFileSync(tensorsFile, "x");
  await run(out, training, { validation: samples, resume: true });
  assert.ok(readFileSync(weights).equals(made));
  rmSync(weights);
  const stream = new TextSink();
  await run(out, training, { validation: samples, resume: true, progress: { stream } });
  assert.match(stream.text, /have changed.* The model is that of the last step, and not the best/);
  assert.ok(!readFileSync(weights).equals(made));
});

test("contradictions of validation are told before anything is written", async () => {
  const cases: readonly [TrainingOptions, Partial<TrainOptions>, RegExp][] = [
    [
      { earlyStop: {} },
      {},
      /^training: earlyStop needs validation, such as validation\.part=0\.05$/,
    ],
    [{ validation: {} }, {}, /^training: validation needs samples: a validation\.part, such as/],
    [
      { validation: { part: 0.1 } },
      { validation: [] },
      /^training: validation\.part \(0\.1\) holds samples out .*: leave one out$/,
    ],
    [
      { validation: { part: 0.1, everySteps: 2, everySeconds: 3 } },
      {},
      /^training: validation\.everySteps \(2\) and validation\.everySeconds \(3\) are two intervals/,
    ],
    [{ validation: { part: 1e-9 } }, {}, /^Validation needs at least two pictures .*; found 0\./],
  ];
  const out = newFolder();
  for (const [training, options, message] of cases) {
    await assert.rejects(run(out, training, options), { name: "ClipsmithError", message });
    assert.ok(!readdirSync(out).includes(runFiles.training));
  }
});
