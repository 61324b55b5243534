import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { clipsmith, makeCollection, tinyModel } from "./testing.js";

let folder: string;
let photos: string;
let run: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-resumed-settings-"));
  photos = join(folder, "photos");
  run = join(folder, "run");
  await makeCollection(photos, 6);
  const flags = ["--steps", "2", "--vocabulary-size", "1000", ...tinyModel];
  assert.equal((await clipsmith("train", photos, "--out", run, ...flags)).code, 0);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const resume = (...flags: readonly string[]) =>
  clipsmith("train", photos, "--out", run, "--resume", ...flags);

test("what a run has otherwise is refused by name, be it not in its files of options", async () => {
  const before = readFileSync(join(run, "collections.json"), "utf8");
  const cases: [flags: string[], message: RegExp][] = [
    [
      ["--validation", photos],
      /These differ:\n {2}validation is not set in the run, not ".*photos"/,
    ],
    [["--tokenizer", join(folder, "none.json")], /Can't load the tokenizer .*none\.json: ENOENT/],
    [
      ["--vocabulary-size", "300"],
      /These differ:\n {2}vocabularySize is 1000 in the run, not 300\n/,
    ],
    [
      ["--tokenizer", "openai"],
      /These differ:\n {2}tokenizer is that of .*tokenizer\.json in the run, not "openai"/,
    ],
  ];
  for (const [flags, message] of cases) {
    const { code, stderr } = await resume(...flags);
    assert.equal(code, 1, flags.join(" "));
    assert.match(stderr, message);
  }
  assert.equal(readFileSync(join(run, "collections.json"), "utf8"), before);
});

test("a collection to validate on is the run's own, unless that has moved", async () => {
  const held = join(folder, "held");
  const validated = join(folder, "validated");
  await makeCollection(held, 6);
  // What cannot be used of it is named, and no reason to stop.
  for (let i = 0; i < 30; i++) writeFileSync(join(held, `lonely-${i}.txt`), "no picture\n");
  const flags = ["--steps", "2", "--validation", held, ...tinyModel];
  const { code, stderr, stdout } = await clipsmith("train", photos, "--out", validated, ...flags);
  assert.equal(code, 0, stderr);
  const skipped = readFileSync(join(validated, "skipped.jsonl"), "utf8").split("\n").slice(0, -1);
  assert.equal(skipped.filter((line) => line.includes("lonely-")).length, 30);
  assert.equal(stdout.split("no picture beside the .txt file").length, 2, stdout);

  const again = (...more: readonly string[]) =>
    clipsmith("train", photos, "--out", validated, "--resume", ...more);
  const other = await again("--validation", photos);
  assert.equal(other.code, 1);
  assert.match(
    other.stderr,
    /These differ:\n {2}validation is ".*held" in the run, not ".*photos"\n/,
  );
  assert.equal((await again("--validation", held)).code, 0);
  renameSync(held, join(folder, "moved"));
  assert.equal((await again("--validation", join(folder, "moved"))).code, 0);
});

test("the collections are the run's own, unless they have moved", async () => {
  const [own, copy, out] = ["own", "copy", "of-own"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await makeCollection(own, 6);
  await makeCollection(copy, 6);
  const begun = await clipsmith("train", own, "--out", out, "--steps", "2", ...tinyModel);
  assert.equal(begun.code, 0, begun.stderr);
  const before = readFileSync(join(out, "collections.json"), "utf8");
  const other = await clipsmith("train", copy, "--out", out, "--resume");
  assert.equal(other.code, 1);
  assert.match(
    other.stderr,
    /These differ:\n {2}data is \[".*own"\] in the run, not \[".*copy"\]\n/,
  );
  assert.equal(readFileSync(join(out, "collections.json"), "utf8"), before);
  renameSync(own, join(folder, "moved-own"));
  const moved = await clipsmith("train", join(folder, "moved-own"), "--out", out, "--resume");
  assert.equal(moved.code, 0, moved.stderr);
});

test("what a run has may be said again", async () => {
  for (const flags of [
    ["--vocabulary-size", "1000"],
    ["--tokenizer", join(run, "tokenizer.json")],
  ]) {
    const { code, stdout, stderr } = await resume(...flags);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /had been taken before/);
  }
});

test("a run that has ended is not made longer, and says what is to be done instead", async () => {
  const path = join(run, "training.json");
  const before = readFileSync(path, "utf8");
  writeFileSync(path, before.replace('"steps": 2', '"steps": 30'));
  const { code, stdout, stderr } = await resume();
  writeFileSync(path, before);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /steps was 2 and is 30\.\n.*keeps its 2 steps.* by --init .*run\.\n/);
  assert.match(stdout, /All 2 steps had been taken before/);
});
