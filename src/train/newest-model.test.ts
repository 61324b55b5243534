import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Model } from "../model/index.js";
import { latestCheckpoint, saveCheckpoint } from "./checkpoint.js";
import { newestModel } from "./newest-model.js";
import { runFiles } from "./run-folder.js";
import { colourSamples, stopAfter, TextSink, tinyClip } from "./testing.js";
import { train } from "./train.js";

const root = mkdtempSync(join(tmpdir(), "clipsmith-newest-model-"));
after(() => rmSync(root, { recursive: true }));
const samples = await colourSamples(join(root, "pictures"));

async function trainTiny(
  out: string,
  { stop, ...more }: { readonly stop?: number; readonly resume?: true; readonly ema?: number },
): Promise<void> {
  const { resume = false, ema } = more;
  await train({
    out,
    samples,
    resume,
    model: { clip: tinyClip },
    training: { steps: 6, warmupSteps: 1, learningRate: 1e-2, ...(ema && { ema }) },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...(stop !== undefined && { signal: stopAfter(stop) }),
  });
}

test("a run that has not ended has the model of its newest checkpoint", async () => {
  const run = join(root, "stopped");
  assert.equal(await newestModel(run), undefined);
  await trainTiny(run, { stop: 3 });
  assert.equal(existsSync(join(run, "model.safetensors")), false);
  const newest = (await newestModel(run))!;
  assert.equal(newest.step, 3);
  assert.ok(newest.seconds > 0);
  const model = new Model(newest, { threads: 1 });
  const found = await model.embedTexts(["red"]);
  assert.ok(found.every(Number.isFinite) && found.length === tinyClip.dimLatent);
  await model.release();
  assert.equal(await newestModel(run, { after: 3 }), undefined);
  assert.equal((await newestModel(run, { after: 2 }))?.step, 3);
});

for (const [name, ema] of Object.entries({ plain: undefined, "running means": 0.9 })) {
  test(`the model of a run's last checkpoint is the one it ends with: ${name}`, async () => {
    const run = join(root, name);
    await trainTiny(run, ema === undefined ? {} : { ema });
    const [newest, ended] = [(await newestModel(run))!, await Model.load(run)];
    assert.equal(newest.step, 6);
    const model = new Model(newest);
    assert.equal(model.checksum, ended.checksum);
    await Promise.all([model.release(), ended.release()]);
  });
}

test("a damaged checkpoint gives way to the one before it", async () => {
  const run = join(root, "damaged");
  await trainTiny(run, { stop: 2 });
  await trainTiny(run, { stop: 2, resume: true });
  const folder = join(run, runFiles.checkpoints);
  assert.deepEqual(readdirSync(folder).sort(), ["step-00000002", "step-00000004"]);
  truncateSync(join(folder, "step-00000004", "tensors.safetensors"), 1000);
  assert.equal((await newestModel(run))?.step, 2);
  assert.equal(await newestModel(run, { after: 2 }), undefined);
  truncateSync(join(folder, "step-00000002", "tensors.safetensors"), 1000);
  await assert.rejects(newestModel(run), /No checkpoint in .* is whole/);
});

test("checkpoints that are replaced while they are read make no trouble", async () => {
  const run = join(root, "busy");
  await trainTiny(run, { stop: 1 });
  const folder = join(run, runFiles.checkpoints);
  const { latest } = await latestCheckpoint(folder);
  let isOver = false;
  const reading = (async () => {
    const steps = [0];
    while (!isOver) steps.push((await newestModel(run))!.step);
    return steps;
  })();
  for (let step = 2; step < 40; step++)
    await saveCheckpoint(folder, { ...latest!, step }, { keep: 1 });
  isOver = true;
  const steps = await reading;
  assert.deepEqual(
    steps,
    [...steps].sort((a, b) => a - b),
  );
  assert.equal((await newestModel(run))?.step, 39);
});
