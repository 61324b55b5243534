/** Runs by minutes, as far as that does not depend on the machine's clock: see time-plan.test.ts. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Sample } from "../data/index.js";
import { latestCheckpoint, saveCheckpoint } from "./checkpoint.js";
import { type Metrics, readMetrics } from "./metrics.js";
import type { TrainingOptions } from "./options.js";
import { runFiles } from "./run-folder.js";
import type { RunState } from "./run-state.js";
import { decayedLearningRateAt } from "./schedule.js";
import { colourSamples, stopAfter, TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";

let root: string;
let samples: Sample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-minutes-"));
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
    training: { batchSize: 4, learningRate: 1e-3, warmupSteps: 2, ...training },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...options,
  });
}

const resume = (out: string, options: Partial<TrainOptions> = {}) =>
  run(out, {}, { ...options, resume: true });

const metricsOf = (out: string): Metrics[] => readMetrics(join(out, runFiles.metrics));

/** The newest checkpoint of a run. */
async function newest(out: string) {
  const { latest } = await latestCheckpoint(join(out, runFiles.checkpoints));
  return { ...latest!, state: latest!.state as unknown as RunState };
}

/** Has its first plan after nine steps at the latest, and ends long after. */
const HOURS: TrainingOptions = { minutes: 600 };

test("a run by minutes ends, and every plan is recorded", async () => {
  const out = newFolder();
  const result = await run(out, { minutes: 0.03 });
  assert.ok(result.finished);
  assert.equal(result.totalSteps, result.steps);
  const rows = metricsOf(out);
  assert.deepEqual(
    rows.map(({ step }) => step),
    Array.from({ length: result.steps }, (_, i) => i + 1),
  );
  for (const { step, plannedSteps } of rows.slice(8)) {
    assert.ok((plannedSteps as number) >= step, `step ${step} of ${plannedSteps}`);
  }
  assert.equal(rows.at(-1)!.plannedSteps, result.steps);
  const { step, state } = await newest(out);
  assert.deepEqual([step, state.totalSteps, state.decayed], [result.steps, result.steps, 1]);
  assert.ok(state.seconds > 0);

  // Nothing is left to do, whatever the time that was asked for is changed to.
  const path = join(out, runFiles.training);
  const options = JSON.parse(readFileSync(path, "utf8"));
  assert.equal(options.minutes, 0.03);
  writeFileSync(path, JSON.stringify({ ...options, minutes: 60 }));
  assert.equal((await resume(out)).steps, result.steps);
});

test("a step is taken, however little the time", async () => {
  const out = newFolder();
  const result = await run(out, { minutes: 1e-6 });
  assert.deepEqual([result.steps, result.totalSteps, result.finished], [1, 1, true]);
});

test("a run that was stopped before its first plan can be resumed", async () => {
  const out = newFolder();
  const stopped = await run(out, HOURS, { signal: stopAfter(2) });
  assert.deepEqual([stopped.steps, stopped.totalSteps, stopped.finished], [2, undefined, false]);
  const resumed = await resume(out, { signal: stopAfter(12) });
  assert.deepEqual([resumed.steps, resumed.finished], [14, false]);
  assert.ok(resumed.totalSteps! > 14);
});

test("a resumed run keeps to the plan that was recorded", async () => {
  const out = newFolder();
  await run(out, HOURS, { signal: stopAfter(20) });
  const { step, state } = await newest(out);
  const rows = metricsOf(out);
  assert.equal(rows.at(-1)!.plannedSteps, state.totalSteps);
  await resume(out, { signal: stopAfter(4) });
  const again = metricsOf(out);
  assert.deepEqual(again.slice(0, 20), rows);
  // Its first steps don't tell the speed yet.
  let decayed = state.decayed!;
  for (let i = 0; i < 4; i++) {
    const options = { learningRate: 1e-3, warmupSteps: 2 };
    assert.equal(again[20 + i]!.plannedSteps, state.totalSteps);
    assert.equal(again[20 + i]!.learningRate, decayedLearningRateAt(step + i, decayed, options));
    decayed += (1 - decayed) / (state.totalSteps! - step - i);
  }
});

test("a run whose minutes an earlier version had turned into steps takes these", async () => {
  const out = newFolder();
  await run(out, HOURS, { signal: stopAfter(4) });
  const { step, tensors, state } = await newest(out);
  const { decayed: _, ...settled } = { ...state, totalSteps: 6 };
  const folder = join(out, runFiles.checkpoints);
  await saveCheckpoint(folder, { step, tensors, state: JSON.parse(JSON.stringify(settled)) });
  const result = await resume(out);
  assert.deepEqual([result.steps, result.totalSteps, result.finished], [6, 6, true]);
});

test("validation in the end is part of the run", async () => {
  const out = newFolder();
  const validation = { everySteps: 10 };
  const result = await run(out, { minutes: 0.03, validation }, { validation: samples });
  const validated = metricsOf(out).filter((row) => "validation.loss" in row);
  assert.equal(validated.at(-1)!.step, result.steps);
});
