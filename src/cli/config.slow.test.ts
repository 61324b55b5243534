import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { type PresetName, presets, trainingOptionsSchema } from "../train/index.js";
import { presetText } from "./explained-settings.js";
import { readOptionTable } from "./options-page.js";
import { clipsmith, makeCollection, tinyModel } from "./testing.js";
import { newRunSettings } from "./train-settings.js";

let folder: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-config-"));
  await makeCollection(join(folder, "photos"), 6);
});
after(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function ok(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await clipsmith(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

test("the printed settings are those of the preset, all of them, and a run takes them", async () => {
  for (const name of Object.keys(presets) as PresetName[]) {
    const text = presetText(name);
    const settings = await newRunSettings({ config: write(`${name}.yaml`, text) });
    const { training, model } = await newRunSettings({ preset: name });
    assert.deepEqual(
      trainingOptionsSchema.parse(settings.training),
      trainingOptionsSchema.parse(training),
    );
    const clip = settings.model!.clip as Record<string, unknown>;
    for (const [option, value] of Object.entries(model!.clip)) assert.equal(clip[option], value);
    for (const table of ["The model", "Pictures", "Training", "Changes to pictures"] as const) {
      for (const { name: option } of readOptionTable(table)) {
        const last = option.split(".").at(-1);
        assert.match(text, new RegExp(`^ +#?${last}:`, "m"), option);
      }
    }
  }
});

test("each setting stands below its meaning and type", async () => {
  const text = await ok("config");
  assert.match(text, /^# The settings of the preset laptop, to edit for: clipsmith train --config/);
  assert.match(text, /\n {2}# pairs in a batch, .* \(integer from 2\)\n {2}batchSize: 256\n/);
  assert.match(
    text,
    /\n {2}# how long to train, in place of minutes \(integer from 1\)\n {2}#steps:\n/,
  );
  assert.match(text, /\n {4}# .*\("simsiam" or "simclr"\)\n {4}visualSslType: simsiam\n/);
  assert.equal(text.match(/# VALIDATION\n/g)?.length, 1, "each group is named once");
  assert.ok(text.split("\n").every((line) => line.length <= 100));
  const small = parse(await ok("config", "--preset", "small"));
  assert.equal(small.model.clip.visualImageSize, 112);
  assert.equal(small.training.warmupSteps, presets.small.training.warmupSteps);
});

test("a file alone is enough to train by, and its paths are its own", async () => {
  const configs = join(folder, "configs");
  mkdirSync(configs);
  const config = join(configs, "run.yaml");
  writeFileSync(
    config,
    "data: ../photos\nout: ../runs/a\ntraining: { minutes: 600, batchSize: 4, seed: 3 }\n" +
      "model: { clip: { dimText: 16, dimImage: 16, textEncDepth: 1, visualEncDepth: 1 } }\n",
  );
  const out = join(folder, "runs/a");
  // The steps of the command line are in place of the file's minutes.
  const flags = ["--steps", "2", "--set", "training.seed=4", "--threads", "1"];
  const told = await ok("train", "--config", config, ...flags);
  assert.match(told, /^6 pictures with 6 captions\.$/m);
  const read = (name: string) => JSON.parse(readFileSync(join(out, name), "utf8"));
  const { steps, batchSize, seed } = read("training.json");
  assert.deepEqual({ steps, batchSize, seed }, { steps: 2, batchSize: 4, seed: 4 });
  assert.match(
    await ok("train", "--config", config, ...flags, "--resume"),
    /had been taken before/,
  );
});

test("a run's settings are shown whole, and repeat it", async () => {
  const out = join(folder, "runs/b");
  const photos = join(folder, "photos");
  await ok("train", photos, "--out", out, "--steps", "2", "--seed", "5", ...tinyModel);
  const text = await ok("config", out);
  const { data, tokenizer, model, training } = parse(text);
  assert.equal(data, photos);
  assert.equal(tokenizer, join(out, "tokenizer.json"));
  assert.deepEqual([training.steps, training.seed, training.minutes], [2, 5, undefined]);
  assert.equal(model.clip.dimText, 16);
  const again = join(folder, "runs/c");
  await ok("train", "--config", write("again.yaml", text), "--out", again, "--threads", "1");
  for (const name of ["config.json", "training.json", "model.safetensors", "tokenizer.json"]) {
    assert.deepEqual(readFileSync(join(again, name)), readFileSync(join(out, name)), name);
  }
});

test("whose settings cannot be shown, and what nobody named, is said", async () => {
  const failure = async (...args: readonly string[]) => {
    const { code, stderr } = await clipsmith(...args);
    assert.equal(code, 1);
    return stderr;
  };
  assert.match(await failure("config", folder), /Cannot read .*config\.json: .*Name a folder that/);
  assert.match(await failure("config", folder, "--preset", "small"), /leave out --preset/);
  assert.match(await failure("train"), /Which pictures\? Name their collection, .* or as `data`/);
});

test("a run is validated on another collection, and remembers it", async () => {
  const out = join(folder, "runs/d");
  const photos = join(folder, "photos");
  const flags = ["--out", out, "--validation", photos, "--steps", "2", ...tinyModel];
  await ok("train", photos, ...flags);
  const lines = readFileSync(join(out, "metrics.jsonl"), "utf8");
  assert.match(lines, /\{"step":2,"validation\.loss":[\d.]+,"validation\.textToImage\.r1":/);
  const { validation, training } = parse(await ok("config", out));
  assert.equal(validation, photos);
  assert.deepEqual(training.validation, { samples: 2000 });
  // Resumed, it knows both.
  const told = await ok("train", "--out", out, "--resume");
  assert.equal(told.match(/6 pictures with 6 captions\./g)?.length, 2, told);
  assert.match(told, /had been taken before/);
});
