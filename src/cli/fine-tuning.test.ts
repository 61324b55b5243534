import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadModel } from "../model/index.js";
import { clipsmith, makeCollection, tinyModel } from "./testing.js";

let folder: string;
let collection: string;
let run: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-cli-fine-tuning-"));
  collection = join(folder, "colours");
  run = join(folder, "run");
  await makeCollection(collection, 8);
  const { code, stderr } = await train("--out", run, ...tinyModel);
  assert.equal(code, 0, stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const train = (...more: readonly string[]) =>
  clipsmith("train", collection, "--steps", "3", ...more);

test("--init goes on from a model, of its shape, with what is frozen as it was", async () => {
  const out = join(folder, "tuned");
  const freeze = `training.freeze=${JSON.stringify([{ match: "visual_transformer.*" }])}`;
  const { code, stderr } = await train("--out", out, "--init", run, "--set", freeze);
  assert.equal(code, 0, stderr);
  const [before, after] = [await loadModel(run), await loadModel(out)];
  assert.deepEqual(after.config, before.config);
  for (const [name, values] of before.weights) {
    if (name.startsWith("visual_transformer.")) assert.deepEqual(after.weights.get(name), values);
  }
  const name = "text_transformer.token_emb.weight";
  assert.notDeepEqual(after.weights.get(name), before.weights.get(name));
});

test("--init-only takes a part, and a preset that does not fit is refused by name", async () => {
  const only = ["--init", run, "--init-only", "visual_transformer.*"];
  const out = join(folder, "part");
  const { code, stderr } = await train("--out", out, ...only, "--vocabulary-size", "270");
  assert.equal(code, 0, stderr);
  const { init } = JSON.parse(readFileSync(join(out, "training.json"), "utf8"));
  assert.deepEqual(init, { from: run, only: "visual_transformer.*" });

  const other = await train("--out", join(folder, "other"), ...only, "--preset", "small");
  assert.equal(other.code, 1);
  assert.match(other.stderr, /do not fit the model: visual_transformer\.to_tokens\.1\.weight/);
  const alone = await train("--out", join(folder, "other"), "--init-only", "*");
  assert.match(alone.stderr, /--init-only: name the model by --init\./);
});
