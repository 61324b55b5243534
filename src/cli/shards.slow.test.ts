import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { pack } from "tar-stream";
import { readMetrics } from "../train/index.js";
import { clipsmith, makeCollection, start, tinyModel, untilStep } from "./testing.js";

let folder: string;
let photos: string;
let shards: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-shards-"));
  photos = join(folder, "photos");
  await makeCollection(photos, 12);
  shards = join(folder, "shards");
  mkdirSync(shards);
  const names = readdirSync(photos).sort();
  for (const [i, part] of [names.slice(0, 12), names.slice(12)].entries()) {
    const tar = pack();
    for (const name of part) tar.entry({ name }, readFileSync(join(photos, name)));
    tar.entry({ name: `bad-${i}.png` }, "no picture");
    tar.entry({ name: `bad-${i}.txt` }, "a bad one");
    tar.finalize();
    writeFileSync(join(shards, `0000${i}.tar`), await buffer(tar));
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

const settings = [...["--steps", "60", "--batch-size", "5"], ...tinyModel];
const losses = (run: string) => readMetrics(join(run, "metrics.jsonl")).map(({ loss }) => loss);
const weightsOf = (run: string) => readFileSync(join(run, "model.safetensors"));

test("shards and a folder train one model, and a stop changes nothing", async () => {
  const whole = join(folder, "whole");
  const command = ["train", join(shards, "{00000,00001}.tar"), photos, "--weights", "3,1"];
  const { code, stdout, stderr } = await clipsmith(...command, "--out", whole, ...settings);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /tar: 2 shards\.\n.*photos: 12 pictures with 12 captions\.\n/);
  assert.match(stdout, /^Skipped 2:\n {2}.*bad-\d.*: .*not a picture/m);
  assert.ok(
    stdout.includes(`clipsmith index ${whole} '${join(shards, "{00000,00001}.tar")}' ${photos}\n`),
    stdout,
  );
  const skipped = readFileSync(join(whole, "skipped.jsonl"), "utf8").trim().split("\n");
  const where = skipped.map((line) => (JSON.parse(line) as { where: string }).where);
  assert.deepEqual(where.map((path) => basename(path)).toSorted(), ["bad-0", "bad-1"]);

  const parts = join(folder, "parts");
  const running = start([...command, "--out", parts, ...settings]);
  await untilStep(running, parts, 8);
  running.child.kill("SIGINT");
  const stopped = await running.ended;
  const [, resume] = /Go on with:\n {2}clipsmith (.*)\n/.exec(stopped.stdout)!;
  assert.match(resume!, /^train '.*\/\{00000,00001\}\.tar' .*\/photos --out .*parts --resume$/);
  assert.ok(losses(parts).length < 60);
  const resumed = await clipsmith(...command, "--out", parts, "--resume", "--threads", "1");
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.deepEqual(losses(parts), losses(whole));
  assert.ok(weightsOf(parts).equals(weightsOf(whole)));

  const explained = await clipsmith("config", whole);
  assert.match(explained.stdout, /^data: \[ ".*00001\}\.tar", .*photos \]$/m);
});

test("weights that don't fit the collections are refused", async () => {
  const run = join(folder, "wrong");
  const args = ["train", shards, "--weights", "1,2", "--out", run, ...settings];
  const { code, stderr } = await clipsmith(...args);
  assert.equal(code, 1);
  assert.match(stderr, /sourceWeights has 2 weights for 1 source: give one for each/);
  const { stderr: unreadable } = await clipsmith("train", shards, "--weights", "1,x");
  assert.match(unreadable, /It is not a number/);
});
