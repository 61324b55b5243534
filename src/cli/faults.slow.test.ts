import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { latestCheckpoint } from "../train/checkpoint.js";
import { learntMetrics } from "../train/testing.js";
import { random } from "../util/random.js";
import {
  addDamaged,
  clipsmith,
  command,
  type Ended,
  makeCollection,
  start,
  startProgram,
  tinyModel,
  untilStep,
} from "./testing.js";

const STEPS = 150;

let folder: string;
let collection: string;
let whole: string;

/** Running means and batch norm have state of their own. */
const settings = [
  ...["--steps", String(STEPS), "--seed", "3", "--checkpoint-seconds", "0.02"],
  ...["--set", "training.ema=0.9", "--set", "clip.useVisualSsl=true"],
  ...["--set", "clip.visualSslProjectionHiddenSize=16"],
  ...tinyModel,
];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-faults-"));
  collection = join(folder, "colours");
  whole = join(folder, "whole");
  await makeCollection(collection, 20);
  addDamaged(collection);
  const { code, stderr } = await clipsmith("train", collection, "--out", whole, ...settings);
  assert.equal(code, 0, stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

function resume(run: string, ...more: string[]): Promise<Ended> {
  return clipsmith("train", collection, "--out", run, "--resume", "--threads", "1", ...more);
}

function assertSameAsWhole(run: string): void {
  assert.deepEqual(
    learntMetrics(join(run, "metrics.jsonl")),
    learntMetrics(join(whole, "metrics.jsonl")),
  );
  const weights = (path: string) => readFileSync(join(path, "model.safetensors"));
  assert.ok(weights(run).equals(weights(whole)), "the weights differ");
}

/** A run that was stopped somewhere in the middle, with two checkpoints. */
async function stoppedRun(name: string): Promise<{ run: string; checkpoints: string }> {
  const run = join(folder, name);
  const running = start(["train", collection, "--out", run, ...settings]);
  // Early, so that the run has not ended before the signal reaches it.
  await untilStep(running, run, 20);
  running.child.kill("SIGINT");
  const { code, stderr } = await running.ended;
  assert.equal(code, 0, stderr);
  const checkpoints = join(run, "checkpoints");
  assert.equal(readdirSync(checkpoints).length, 2);
  return { run, checkpoints };
}

test("a run whose newest checkpoint is damaged goes on from the one before, to the same end", async () => {
  const { run, checkpoints } = await stoppedRun("damaged");
  const [before, newest] = readdirSync(checkpoints).sort();
  const file = join(checkpoints, newest!, "tensors.safetensors");
  const bytes = readFileSync(file);
  const stream = random("bit");
  bytes[stream.integer(bytes.length)]! ^= 1 << stream.integer(8);
  writeFileSync(file, bytes);
  const { code, stdout, stderr } = await resume(run);
  assert.equal(code, 0, stderr);
  const step = Number(before!.slice(5));
  assert.ok(stdout.includes(`Going on after step ${step}.`), stdout);
  assert.ok(stderr.includes(`The bytes of ${file} have changed`), stderr);
  assert.ok(stderr.includes(`Starting from step ${step} instead.`), stderr);
  assertSameAsWhole(run);
});

test("a full disk stops a run, says how to go on, and costs no checkpoint", {
  skip: process.platform === "win32" && "there is no limit to files' size there",
}, async () => {
  const { run, checkpoints } = await stoppedRun("full");
  const { latest } = await latestCheckpoint(checkpoints);
  const { size } = statSync(join(latest!.path, "tensors.safetensors"));
  // Files larger than three quarters of a checkpoint find no room.
  const blocks = Math.floor((0.75 * size) / 512);
  const args = ["train", collection, "--out", run, "--resume", "--threads", "1"];
  const limited = `ulimit -f ${blocks} && exec "$0" "$@"`;
  const { code, stderr } = await startProgram("sh", ["-c", limited, ...command, ...args]).ended;
  assert.equal(code, 1, stderr);
  assert.match(
    stderr,
    /No room for .*step-\d{8}: it needs \d+ bytes, and \d+ are free on that disk/,
  );
  const kept = `the checkpoint of step ${latest!.step} is saved. Go on with:\n  clipsmith train ${collection} --out ${run} --resume\n`;
  assert.ok(stderr.includes(kept), stderr);
  assert.equal((await latestCheckpoint(checkpoints)).latest?.step, latest!.step);
  assert.equal((await resume(run)).code, 0);
  assertSameAsWhole(run);
});

test("a run goes on with other answers to what goes wrong, and otherwise with its own settings", async () => {
  const { run } = await stoppedRun("changed");
  const set = ["--set", "training.onBadLoss=skip", "--checkpoint-seconds", "1"];
  const { code, stderr } = await resume(run, ...set);
  assert.equal(code, 0, stderr);
  assertSameAsWhole(run);
});
