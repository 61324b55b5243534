import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readMetrics } from "../train/index.js";
import { learntMetrics } from "../train/testing.js";
import { random } from "../util/random.js";
import {
  addDamaged,
  clipsmith,
  type Ended,
  makeCollection,
  start,
  tinyModel,
  untilStep,
} from "./testing.js";

const STEPS = 250;

let folder: string;
let collection: string;
let whole: string;

/** The settings of all runs here: patch dropout and augmentation draw random numbers too. */
const settings = [
  ...["--steps", String(STEPS), "--seed", "7", "--checkpoint-seconds", "0.02"],
  ...["--set", "training.augment.rotate=10", "--set", "clip.visualPatchDropout=0.5"],
  ...tinyModel,
];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-resume-"));
  collection = join(folder, "colours");
  whole = join(folder, "whole");
  await makeCollection(collection, 20);
  addDamaged(collection);
  const { code, stderr } = await train(whole);
  assert.equal(code, 0, stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

function train(run: string, ...more: string[]): Promise<Ended> {
  return clipsmith("train", collection, "--out", run, ...settings, ...more);
}

/** What to add to the command after a kill: a run may have been killed before there was one. */
function goOn(run: string): string[] {
  if (!existsSync(join(run, "training.json"))) return [];
  return [existsSync(join(run, "config.json")) ? "--resume" : "--overwrite"];
}

function steps(run: string): number {
  return readMetrics(join(run, "metrics.jsonl")).length;
}

function assertSameAsWhole(run: string): void {
  const metrics = learntMetrics(join(run, "metrics.jsonl"));
  assert.deepEqual(
    metrics.map(({ step }) => step),
    Array.from({ length: STEPS }, (_, i) => i + 1),
  );
  assert.deepEqual(metrics, learntMetrics(join(whole, "metrics.jsonl")));
  const weights = (path: string) => readFileSync(join(path, "model.safetensors"));
  assert.ok(weights(run).equals(weights(whole)), "the weights differ");
}

test("a run killed again and again ends as if it had not been", async () => {
  const run = join(folder, "killed");
  const stream = random("kills");
  let kills = 0;
  // At random times after the start, most of them before the first step.
  for (let i = 0; i < 4; i++) {
    const running = start(["train", collection, "--out", run, ...settings, ...goOn(run)]);
    await sleep(100 + stream.integer(500));
    running.child.kill("SIGKILL");
    await running.ended;
  }
  // At random steps.
  for (let i = 0; i < 5; i++) {
    const running = start(["train", collection, "--out", run, ...settings, ...goOn(run)]);
    await running.output(/step \d/);
    await untilStep(running, run, steps(run) + 5 + stream.integer(35));
    running.child.kill("SIGKILL");
    if ((await running.ended).signal === "SIGKILL") kills++;
  }
  assert.ok(kills >= 3, `only ${kills} kills came before the end`);
  const { code, stderr } = await train(run, ...goOn(run));
  assert.equal(code, 0, stderr);
  assertSameAsWhole(run);
});

test("an interrupted run says how to go on, and ends as if it had not been", async () => {
  const run = join(folder, "interrupted");
  const running = start(["train", collection, "--out", run, ...settings]);
  await untilStep(running, run, 10);
  running.child.kill("SIGINT");
  const { code, stdout, stderr } = await running.ended;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /Stopping after this step, with a checkpoint/);
  const [, step] = /Stopped after step (\d+)\./.exec(stdout)!;
  assert.equal(steps(run), Number(step));
  const command = `clipsmith train ${collection} --out ${run} --resume`;
  assert.ok(stdout.includes(`Go on with:\n  ${command}\n`), stdout);

  for (const verb of [
    ["eval", run, collection],
    ["search", run, "red"],
  ]) {
    const early = await clipsmith(...verb);
    assert.equal(early.code, 1);
    assert.ok(early.stderr.includes("holds no trained model yet"), early.stderr);
    assert.ok(early.stderr.includes(command), early.stderr);
  }

  const other = await clipsmith("train", collection, "--out", run, "--resume", "--seed", "8");
  assert.equal(other.code, 1);
  assert.match(other.stderr, /training\.seed is 7 in the run, not 8/);

  const terminated = start(["train", collection, "--out", run, "--resume", "--threads", "1"]);
  await untilStep(terminated, run, Number(step) + 10);
  terminated.child.kill("SIGTERM");
  const ended = await terminated.ended;
  assert.equal(ended.code, 0, ended.stderr);
  assert.ok(ended.stdout.includes(`Go on with:\n  ${command}\n`), ended.stdout);

  const resumed = await train(run, "--resume");
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stdout, /Going on after step \d+\./);
  assertSameAsWhole(run);
  const again = await train(run, "--resume");
  assert.match(again.stdout, /All 250 steps had been taken before\./);
  assertSameAsWhole(run);
});

test("a run that was interrupted before its number of steps was settled goes on too", async () => {
  const run = join(folder, "minutes");
  const running = start(["train", collection, "--out", run, "--minutes", "60", ...tinyModel]);
  await untilStep(running, run, 20);
  running.child.kill("SIGINT");
  const { code, stdout } = await running.ended;
  assert.equal(code, 0);
  const [, step] = /Stopped after step (\d+)\./.exec(stdout)!;
  const resumed = start(["train", collection, "--out", run, "--resume", "--threads", "1"]);
  await resumed.output(new RegExp(`Going on after step ${step}\\.`));
  await untilStep(resumed, run, Number(step) + 5);
  resumed.child.kill("SIGINT");
  assert.equal((await resumed.ended).code, 0);
});

test("a run that another process trains is neither resumed nor replaced", async () => {
  const run = join(folder, "taken");
  const running = start(["train", collection, "--out", run, "--minutes", "60", ...tinyModel]);
  await untilStep(running, run, 5);
  for (const how of ["--resume", "--overwrite"]) {
    const second = await clipsmith("train", collection, "--out", run, how);
    assert.equal(second.code, 1);
    const expected = `${run} is being trained by the process ${running.child.pid}, since `;
    assert.ok(second.stderr.startsWith(expected), second.stderr);
  }
  running.child.kill("SIGINT");
  const { code, stdout } = await running.ended;
  assert.equal(code, 0);
  assert.match(stdout, /Stopped after step \d+\./);
});

test("a second signal of either kind ends the process at once", async () => {
  const run = join(folder, "impatient");
  const running = start(["train", collection, "--out", run, "--minutes", "60", ...tinyModel]);
  // The handlers are there before the first line, and taking a step only comes long after it.
  await running.output(/pictures with/);
  running.child.kill("SIGINT");
  await running.output(/Once more ends at once/);
  running.child.kill("SIGTERM");
  const { code, signal } = await running.ended;
  assert.deepEqual([code, signal], [null, "SIGTERM"]);
});
