import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Sample } from "../data/index.js";
import { evaluate } from "../eval/index.js";
import { loadModel, Model, modelFiles } from "../model/index.js";
import { latestCheckpoint, loadCheckpoint } from "./checkpoint.js";
import type { TrainingOptions } from "./options.js";
import { runFiles } from "./run-folder.js";
import { colourSamples, learntMetrics, stopAfter, TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";

let root: string;
let samples: Sample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-train-"));
  samples = await colourSamples(join(root, "pictures"));
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);
const sink = new TextSink();

const fast: TrainingOptions = {
  steps: 12,
  batchSize: 4,
  learningRate: 5e-3,
  warmupSteps: 4,
  augment: { colour: { brightness: 0.1 } },
};

function run(out: string, training: TrainingOptions, options: Partial<TrainOptions> = {}) {
  return train({
    out,
    samples,
    model: { clip: tinyClip },
    training: { ...fast, ...training },
    runtime: { threads: 1 },
    progress: { stream: sink },
    ...options,
  });
}

const metricsOf = (out: string) => learntMetrics(join(out, runFiles.metrics));
const newest = async (out: string) => {
  const { latest } = await latestCheckpoint(join(out, runFiles.checkpoints));
  return latest;
};

test("colours are learnt by their names, all of them", async () => {
  const out = newFolder();
  const result = await run(out, { steps: 120, batchSize: 8 });
  assert.ok(result.finished);
  assert.deepEqual([result.steps, result.totalSteps], [120, 120]);
  assert.equal(result.skipped.count, 0);
  const metrics = metricsOf(out);
  assert.deepEqual(
    metrics.map(({ step }) => step),
    Array.from({ length: 120 }, (_, i) => i + 1),
  );
  const [first, last] = [metrics[0]!.loss as number, metrics.at(-1)!.loss as number];
  assert.ok(first > 1 && last < 0.5 * first, `loss from ${first} to ${last}`);
  for (const { learningRate, logitScale, gradientNorm } of metrics) {
    assert.ok((learningRate as number) >= 0 && (learningRate as number) <= 5e-3);
    assert.ok((logitScale as number) >= 1 && (logitScale as number) <= 100);
    assert.ok((gradientNorm as number) > 0);
  }

  const model = await Model.load(out, { threads: 1 });
  const { textToImage, imageToText } = await evaluate(model, samples);
  await model.release();
  assert.deepEqual([textToImage.r1, imageToText.r1], [1, 1]);
});

test("equal runs are equal to the last bit wherever the pictures lie, other seeds are not", async () => {
  const [a, b, c] = [newFolder(), newFolder(), newFolder()];
  const elsewhere = await colourSamples(join(root, "elsewhere", "pictures"));
  await run(a, {});
  await run(b, {}, { samples: elsewhere });
  await run(c, { seed: 1 });
  assert.deepEqual(metricsOf(b), metricsOf(a));
  assert.deepEqual((await loadModel(b)).weights, (await loadModel(a)).weights);
  assert.notDeepEqual(
    metricsOf(c).map(({ loss }) => loss),
    metricsOf(a).map(({ loss }) => loss),
  );
});

test("a run that was stopped and resumed is equal to one that was not", async () => {
  const [whole, parts] = [newFolder(), newFolder()];
  await run(whole, {});
  const stopped = await run(parts, {}, { signal: stopAfter(5) });
  assert.deepEqual([stopped.steps, stopped.finished], [5, false]);
  assert.equal((await newest(parts))?.step, 5);
  assert.ok(!existsSync(join(parts, modelFiles.weights)), "no model before the end");

  const again = await run(parts, {}, { resume: true, signal: stopAfter(3) });
  assert.deepEqual([again.steps, again.finished], [8, false]);
  // As if killed: the last steps are in the metrics, and in no checkpoint.
  await rm(join(parts, runFiles.checkpoints, "step-00000008"), { recursive: true });
  const finished = await run(parts, {}, { resume: true });
  assert.deepEqual([finished.steps, finished.totalSteps, finished.finished], [12, 12, true]);
  assert.deepEqual(metricsOf(parts), metricsOf(whole));
  assert.deepEqual((await loadModel(parts)).weights, (await loadModel(whole)).weights);

  // Nothing is left to do, and nothing is undone.
  const nothing = await run(parts, {}, { resume: true });
  assert.deepEqual([nothing.steps, nothing.finished], [12, true]);
  assert.deepEqual(metricsOf(parts), metricsOf(whole));
  // The batch that was read ahead fails after the end, and nobody minds.
  const gone = samples.map((sample, i) => ({ ...sample, picture: join(root, `gone-${i}.png`) }));
  assert.ok((await run(parts, {}, { resume: true, samples: gone })).finished);
});

test("a resumed run keeps its own options", async () => {
  const out = newFolder();
  await run(out, { steps: 6 }, { signal: stopAfter(2) });
  const result = await run(out, { steps: 99, seed: 9 }, { resume: true });
  assert.deepEqual([result.steps, result.totalSteps], [6, 6]);
});

test("a loss that is no number stops the run, and what was learnt before is kept", async () => {
  const out = newFolder();
  // The first steps throw all weights far away; checkpoints are written after every step.
  const wild = { learningRate: 1e30, warmupSteps: 0, checkpointSeconds: 1e-9 };
  let failedStep = 0;
  await assert.rejects(run(out, wild), ({ name, message }: Error) => {
    assert.equal(name, "ClipsmithError");
    const found = /^Training stopped at step (\d+): the (loss is|gradients are not)/.exec(message);
    failedStep = Number(found?.[1]);
    assert.match(message, /\. The batch was .*white.* \(all are named in .*bad-batches\.jsonl\)\./);
    assert.match(message, /start again with a lower --learning-rate and --overwrite\.$/);
    return true;
  });
  assert.ok(failedStep > 1);
  assert.equal(metricsOf(out).length, failedStep - 1);
  const latest = await newest(out);
  assert.equal(latest?.step, failedStep - 1);
  const { tensors } = await loadCheckpoint(latest!.path);
  for (const [name, { data }] of tensors) assert.ok(!data.includes(Number.NaN), name);
  assert.ok(!existsSync(join(out, modelFiles.weights)));
});

test("unreadable pictures are told and passed over", async () => {
  const out = newFolder();
  const broken = join(root, "broken.png");
  await writeFile(broken, "no picture");
  const stream = new TextSink();
  const result = await run(
    out,
    { batchSize: 4 },
    { samples: [...samples, { picture: broken, captions: ["orange"] }], progress: { stream } },
  );
  assert.ok(result.finished);
  assert.deepEqual(
    result.skipped.first.map(({ where }) => where),
    [broken],
  );
  assert.equal(stream.text.match(/Skipped .*broken\.png/g)?.length, 1);
});

test("a run without one readable picture, or with a single one, says so", async () => {
  const missing = [1, 2, 3].map((i) => ({
    picture: join(root, `missing-${i}.png`),
    captions: [`word${i}`],
  }));
  await assert.rejects(run(newFolder(), {}, { samples: missing }), {
    name: "ClipsmithError",
    message:
      /^Training stopped: 100 % of the last samples.*\n {2}3 times: the file does not exist \(/s,
  });
  for (const few of [[], samples.slice(0, 1)]) {
    await assert.rejects(run(newFolder(), {}, { samples: few }), {
      name: "ClipsmithError",
      message: `Training needs at least two pictures with captions, to tell them apart; found ${few.length}.`,
    });
  }
});

test("a batch larger than the collection is the collection", async () => {
  const out = newFolder();
  const result = await run(out, { steps: 3, batchSize: 512 });
  assert.equal(result.steps, 3);
  const written = JSON.parse(readFileSync(join(out, runFiles.training), "utf8"));
  assert.equal(written.batchSize, 512);
});

test("the logit scale stays within its bounds", async () => {
  const out = newFolder();
  // It starts at e.
  await run(out, { steps: 4, maxLogitScale: 2 });
  for (const { logitScale } of metricsOf(out)) {
    assert.ok((logitScale as number) >= 1 && (logitScale as number) <= 2.000001, `${logitScale}`);
  }
});
