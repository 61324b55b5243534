import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { OpenAITokenizer, type Sample } from "../data/index.js";
import { loadDescription } from "../model/index.js";
import { saveCheckpoint } from "./checkpoint.js";
import { type NewRun, resumeRun, runFiles, startRun } from "./run.js";
import { tinyClip } from "./testing.js";

const samples: Sample[] = [
  { picture: "/a.png", captions: ["a red ball", "red"] },
  { picture: "/b.png", captions: ["a blue ball on a table by the window"] },
];
const model = { clip: tinyClip };

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-run-"));
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);
const start = (folder: string, run: NewRun = {}) => startRun(folder, samples, { model, ...run });

test("a new run has a tokenizer of the captions, room for the longest, and its options", async () => {
  const folder = join(newFolder(), "deeper");
  const { config, tokenizer, weights, training, checkpoint } = await start(folder, {
    training: { steps: 7 },
    vocabularySize: 300,
  });
  const longest = tokenizer.encode(samples[1]!.captions[0]!).length;
  assert.equal(config.clip.textSeqLen, longest);
  assert.equal(config.clip.numTextTokens, tokenizer.vocabularySize);
  assert.ok(tokenizer.vocabularySize <= 300);
  assert.deepEqual([training.steps, training.batchSize, checkpoint], [7, 256, undefined]);
  assert.deepEqual(weights.get("text_transformer.abs_pos_emb.weight")?.length, longest * 16);
  assert.deepEqual((await loadDescription(folder)).config, config);
  const written = JSON.parse(await readFile(join(folder, runFiles.training), "utf8"));
  assert.deepEqual(written, JSON.parse(JSON.stringify(training)));
});

test("a new run takes a tokenizer that is given, and keeps it in its folder", async () => {
  const path = join(root, "openai.json");
  const openai = new OpenAITokenizer([["r", "e"]]);
  await openai.save(path);
  const folder = newFolder();
  const { config, tokenizer } = await start(folder, { tokenizer: path });
  await rm(path);
  assert.equal(config.clip.numTextTokens, openai.vocabularySize);
  assert.deepEqual(tokenizer.encode("a red ball"), openai.encode("a red ball"));
  const { tokenizer: kept } = await loadDescription(folder);
  assert.deepEqual(kept.encode("a red ball"), openai.encode("a red ball"));
});

test("long captions are cut at 77 tokens unless told otherwise", async () => {
  const long = [{ picture: "/a.png", captions: ["0123456789 ".repeat(20)] }];
  const { config } = await startRun(newFolder(), long, { model, vocabularySize: 258 });
  assert.equal(config.clip.textSeqLen, 77);
  const own = await startRun(newFolder(), long, {
    model: { clip: { ...tinyClip, textSeqLen: 9 } },
  });
  assert.equal(own.config.clip.textSeqLen, 9);
});

test("the seed decides the weights", async () => {
  const weightsOf = async (seed: number) =>
    (await start(newFolder(), { training: { seed } })).weights.get("to_text_latent.weight");
  assert.deepEqual(await weightsOf(1), await weightsOf(1));
  assert.notDeepEqual(await weightsOf(1), await weightsOf(2));
});

test("a folder with other things is left alone, even to be overwritten", async () => {
  const folder = newFolder();
  await mkdir(folder);
  await writeFile(join(folder, "notes.txt"), "mine");
  for (const overwrite of [false, true]) {
    await assert.rejects(start(folder, { overwrite }), {
      name: "ClipsmithError",
      message: `${folder} is not empty and holds no run. Choose another folder by --out.`,
    });
  }
  assert.deepEqual(await readdir(folder), ["notes.txt"]);
});

test("a run is replaced only if asked for, and then altogether", async () => {
  const folder = newFolder();
  await start(folder);
  await writeFile(join(folder, runFiles.metrics), '{"step":1}\n');
  await assert.rejects(start(folder), {
    name: "ClipsmithError",
    message: /already holds a run\. Go on with it by --resume, replace it by --overwrite/,
  });
  await start(folder, { overwrite: true, training: { seed: 5 } });
  assert.deepEqual((await readdir(folder)).toSorted(), [
    "config.json",
    "tokenizer.json",
    "training.json",
  ]);
  assert.equal((await resumeRun(folder, samples)).training.seed, 5);
  // An empty folder has nothing to overwrite.
  const empty = newFolder();
  await mkdir(empty);
  await start(empty, { overwrite: true });
});

test("wrong options are told before anything is written or replaced", async () => {
  const folder = newFolder();
  await start(folder);
  const before = await readdir(folder);
  for (const [run, message] of [
    [
      { training: { learningrate: 1 } as object },
      /^training options: there is no option "learningrate"; did you mean "learningRate"/,
    ],
    [{ training: { augment: { flip: 2 } } }, /^training options: augment\.flip: /],
    [
      { model: { clip: { textEncDept: 1 } as object } },
      /^model options: clip: there is no option "textEncDept"; did you mean "textEncDepth"/,
    ],
    [{ model: { clip: { visualImageSize: 30 } } }, /visualImageSize \(30\) must be a multiple/],
    [{ tokenizer: "/none.json" }, /Can't load the tokenizer \/none\.json: ENOENT/],
    [
      { tokenizer: "/none.json", vocabularySize: 300 },
      /its own vocabulary: leave out --vocabulary-size or --tokenizer/,
    ],
    [{ vocabularySize: 10 }, /vocabularySize must be a whole number of at least 258/],
  ] as const) {
    await assert.rejects(start(folder, { ...run, overwrite: true }), {
      name: "ClipsmithError",
      message,
    });
    const nowhere = newFolder();
    await assert.rejects(start(nowhere, run), { name: "ClipsmithError", message });
    assert.deepEqual(await readdir(nowhere).catch(() => []), []);
  }
  assert.deepEqual(await readdir(folder), before);
});

test("a run without a checkpoint starts again from the same weights", async () => {
  const folder = newFolder();
  const started = await start(folder, { training: { seed: 3, steps: 5 } });
  const resumed = await resumeRun(folder, samples);
  assert.equal(resumed.checkpoint, undefined);
  assert.deepEqual(resumed.weights, started.weights);
  assert.deepEqual(resumed.training, started.training);
  assert.deepEqual(resumed.config, started.config);
});

test("what cannot be resumed says why", async () => {
  const folder = newFolder();
  await assert.rejects(resumeRun(folder, samples), {
    name: "ClipsmithError",
    message: /^There is no run to resume in .*training\.json.*Leave out --resume to start one\.$/,
  });
  await start(folder);
  await saveCheckpoint(join(folder, runFiles.checkpoints), {
    step: 3,
    tensors: new Map([["temperature", { shape: [], data: Float32Array.of(2) }]]),
    state: { totalSteps: 5 },
  });
  await assert.rejects(resumeRun(folder, samples), {
    name: "ClipsmithError",
    message: /step-00000003 has no text_transformer\.cls_token: is it of another model\?/,
  });
  await writeFile(join(folder, runFiles.training), '{"minutes": -1}');
  await assert.rejects(resumeRun(folder, samples), {
    name: "ClipsmithError",
    message: /training\.json: minutes: /,
  });
});
