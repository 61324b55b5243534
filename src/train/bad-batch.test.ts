import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ClipParts } from "../clip/index.js";
import type { Sample } from "../data/index.js";
import { add, constant, exp, linear, mean, mul, reshape } from "../graph/index.js";
import { loadModel } from "../model/index.js";
import { latestCheckpoint } from "./checkpoint.js";
import type { TrainingOptions } from "./options.js";
import { StoppedRunError } from "./run.js";
import { runFiles } from "./run-folder.js";
import { learntMetrics, savePicture, stopAfter, TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";

const STEPS = 10;
const BATCH = 4;

let root: string;
let samples: Sample[];
/** The step, counted from 1, that meets the white picture for the first time. */
let badStep: number;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-bad-batch-"));
  samples = [];
  for (let i = 0; i < 16 * BATCH; i++) {
    const name = i === 0 ? "white" : `grey ${i}`;
    const level = i === 0 ? 255 : 2 * i;
    const picture = await savePicture(join(root, `${i}.png`), [level, 128 - i, level]);
    samples.push({ picture, captions: [name] });
  }
  await savePicture(samples[0]!.picture, [255, 255, 255]);
  const stopped = newFolder();
  await assert.rejects(run(stopped, {}), /the loss is NaN/);
  badStep = badBatches(stopped)[0]!.step;
  assert.ok(badStep > 3 && badStep < STEPS - 2, `another seed, please: ${badStep}`);
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);

/** Of white pictures alone, it makes infinity times nothing. */
const delicate: ClipParts = {
  imageEncoder: (scope, { dimImage }) => {
    const weight = scope.linear("pixels", dimImage, 192);
    return {
      call: (image) => {
        const pixels = reshape(image, [image.shape[0]!, 192]);
        const bright = exp(mul(mean(pixels, 1, true), constant(50)));
        return add(linear(pixels, weight), mul(bright, constant(0)));
      },
    };
  },
};

function run(out: string, training: TrainingOptions, options: Partial<TrainOptions> = {}) {
  return train({
    out,
    samples,
    model: {
      clip: {
        ...tinyClip,
        visualPatchDropout: 0,
        // Batch norm has buffers, which have to go back, too.
        ...{ useVisualSsl: true, visualSslProjectionSize: 8, visualSslProjectionHiddenSize: 8 },
      },
    },
    training: {
      steps: STEPS,
      batchSize: BATCH,
      warmupSteps: 2,
      seed: 6,
      sslAugment: {},
      ...training,
    },
    parts: delicate,
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...options,
  });
}

function badBatches(out: string): { step: number; fault: string; samples: string[] }[] {
  const text = readFileSync(join(out, runFiles.badBatches), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const metricsOf = (out: string) => learntMetrics(join(out, runFiles.metrics));
const latestOf = async (out: string) =>
  (await latestCheckpoint(join(out, runFiles.checkpoints))).latest!;

test("a bad batch is gone past, from the last checkpoint on", async () => {
  const out = newFolder();
  const stream = new TextSink();
  const training = { onBadLoss: "skip", checkpointSeconds: 1e-9 } as const;
  const result = await run(out, training, { progress: { stream } });
  assert.deepEqual([result.steps, result.finished], [STEPS, true]);
  assert.deepEqual(
    metricsOf(out).map(({ step }) => step),
    Array.from({ length: STEPS }, (_, i) => i + 1),
  );
  const [bad, ...more] = badBatches(out);
  assert.deepEqual([bad!.step, bad!.fault, more], [badStep, "loss is NaN", []]);
  assert.equal(bad!.samples.length, BATCH);
  assert.ok(bad!.samples.includes(samples[0]!.picture));
  const told = `Bad step ${badStep}: the loss is NaN. Going back to step ${badStep - 1}. The batch was `;
  assert.ok(stream.text.includes(told), stream.text);

  // Stopped there, and told to go past it: the same run.
  const stopped = newFolder();
  const stop = { checkpointSeconds: 1e-9 };
  await assert.rejects(run(stopped, stop), {
    name: "ClipsmithError",
    message: new RegExp(`^Training stopped at step ${badStep}: the loss is NaN\\. The batch was `),
  });
  assert.equal((await latestOf(stopped)).step, badStep - 1);
  assert.ok((await run(stopped, { onBadLoss: "skip" }, { resume: true })).finished);
  const { weights } = await loadModel(out, delicate);
  assert.deepEqual((await loadModel(stopped, delicate)).weights, weights);
  assert.deepEqual(metricsOf(stopped), metricsOf(out));

  // Stopped right after, and resumed: the batches still are those after the bad one.
  const resumed = newFolder();
  await run(resumed, training, { signal: stopAfter(badStep) });
  assert.equal((await latestOf(resumed)).step, badStep - 1);
  assert.ok((await run(resumed, {}, { resume: true })).finished);
  assert.deepEqual((await loadModel(resumed, delicate)).weights, weights);
});

test("going back restores weights, moments and buffers to the bit, and goes on in the stream", async () => {
  const training = { onBadLoss: "skip", checkpointSeconds: 1e9 } as const;
  const [fresh, back] = [newFolder(), newFolder()];
  await run(fresh, training, { signal: stopAfter(0) });
  const start = await latestOf(fresh);
  await run(back, training, { signal: stopAfter(badStep) });
  const again = await latestOf(back);
  assert.deepEqual([start.step, again.step], [0, 0]);
  assert.ok([...again.tensors.keys()].some((name) => name.includes("running_mean")));
  assert.deepEqual(again.tensors, start.tensors);
  assert.deepEqual(metricsOf(back), []);
  const { passedOver } = again.state as { passedOver: number };
  assert.equal(passedOver, badStep);

  // All of the run's steps are still taken, over other batches than before.
  const result = await run(back, {}, { resume: true });
  assert.deepEqual([result.steps, result.finished], [STEPS, true]);
  const whole = newFolder();
  await run(whole, training);
  assert.deepEqual(metricsOf(whole), metricsOf(back));
  assert.deepEqual(
    (await loadModel(whole, delicate)).weights,
    (await loadModel(back, delicate)).weights,
  );
});

test("what is bad again and again ends with an error", async () => {
  for (const checkpointSeconds of [1e-9, 1e9]) {
    const out = newFolder();
    const wild = { onBadLoss: "skip", learningRate: 1e30, warmupSteps: 0 } as const;
    await assert.rejects(run(out, { ...wild, checkpointSeconds }), {
      name: "ClipsmithError",
      message:
        /It had gone back to step \d+ 5 times, past other batches each time\. Start again with/,
    });
    assert.ok(badBatches(out).length >= 6);
    for (const [name, { data }] of (await latestOf(out)).tensors) {
      assert.ok(!data.includes(Number.NaN), name);
    }
  }
});

test("a spike stops the run where it is asked to", async () => {
  const out = newFolder();
  const calm = samples.slice(1);
  const training = { steps: 60, lossSpike: 1.0001, learningRate: 1e-5 };
  await assert.rejects(run(out, training, { samples: calm }), {
    name: "ClipsmithError",
    message:
      /^Training stopped at step 5\d: the loss is [\d.]+, more than 1\.0001 times its mean of late, /,
  });
  const plain = { steps: 60, learningRate: 1e-5 };
  assert.ok((await run(newFolder(), plain, { samples: calm })).finished);
});

test("what can be mended stops a run so that it can be resumed", async () => {
  const out = newFolder();
  const checkpoints = join(out, runFiles.checkpoints);
  const calm = samples.slice(1);
  // A file where the folder should be.
  const onStart = () => writeFileSync(checkpoints, "");
  await assert.rejects(run(out, {}, { samples: calm, onStart }), (error) => {
    assert.ok(error instanceof StoppedRunError);
    const expected = new RegExp(
      `^Cannot write ${checkpoints}.* Training stopped after step ${STEPS}; nothing was saved yet\\.$`,
    );
    assert.match(error.message, expected);
    return true;
  });
  await rm(checkpoints);
  assert.ok((await run(out, {}, { samples: calm, resume: true })).finished);
});
