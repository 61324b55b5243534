import assert from "node:assert/strict";
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { random } from "../util/random.js";
import { clipsmith, makeCollection, tinyModel } from "./testing.js";

const PICTURES = 10_000;
const SEED = 5;

test("one damaged picture among 10,000 is skipped, counted and named", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "clipsmith-many-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const originals = join(folder, "originals");
  await makeCollection(originals, 3);
  const collection = join(folder, "many");
  mkdirSync(collection);
  // One of the first that training asks for.
  const bad = random(SEED, "epoch", 0).permutation(PICTURES)[9]!;
  const nameOf = (i: number) => join(collection, String(i).padStart(5, "0"));
  for (let i = 0; i < PICTURES; i++) {
    const original = join(originals, ["000-red", "001-green", "002-blue"][i % 3]!);
    linkSync(`${original}.txt`, `${nameOf(i)}.txt`);
    if (i !== bad) linkSync(`${original}.png`, `${nameOf(i)}.png`);
  }
  writeFileSync(`${nameOf(bad)}.png`, "no picture at all");

  const out = join(folder, "run");
  const { code, stdout, stderr } = await clipsmith(
    ...["train", collection, "--out", out, "--steps", "3", "--seed", String(SEED), ...tinyModel],
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^10,000 pictures with 10,000 captions\.$/m);
  assert.match(stdout, /^3 steps, loss \d/m);
  assert.ok(stdout.includes(`Skipped 1:\n  ${nameOf(bad)}.png: it is not a picture`), stdout);
});
