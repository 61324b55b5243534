import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { OpenAITokenizer } from "../data/index.js";
import { loadDescription } from "../model/index.js";
import { saveCheckpoint } from "./checkpoint.js";
import { resumeRun } from "./resume-run.js";
import { runFiles } from "./run-folder.js";
import { type NewRun, startRun } from "./start-run.js";
import type { Survey } from "./survey.js";
import { tinyClip } from "./testing.js";

const blue = "a blue ball on a table by the window";
const found = async (): Promise<Survey> => ({ captions: ["a red ball", "red", blue], samples: 2 });
const countSamples = async () => 2;
const model = { clip: tinyClip };

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-run-"));
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);
const start = (folder: string, run: NewRun = {}) => startRun(folder, found, { model, ...run });

test("a new run has a tokenizer of the captions, room for the longest, and its options", async () => {
  const folder = join(newFolder(), "deeper");
  const { config, tokenizer, weights, training, checkpoint } = await start(folder, {
    training: { steps: 7 },
    vocabularySize: 300,
  });
  const longest = tokenizer.encode(blue).length;
  assert.equal(config.clip.textSeqLen, longest);
  assert.equal(config.clip.numTextTokens, tokenizer.vocabularySize);
  assert.ok(tokenizer.vocabularySize <= 300);
  assert.deepEqual([training.steps, training.batchSize, checkpoint], [7, 256, undefined]);
  assert.deepEqual(weights.get("text_transformer.abs_pos_emb.weight")?.length, longest * 16);
  assert.deepEqual((await loadDescription(folder)).config, config);
  const written = JSON.parse(await readFile(join(folder, runFiles.training), "utf8"));
  assert.deepEqual(written, JSON.parse(JSON.stringify(training)));
});

test("a new run has words and room for templates", async () => {
  const training = { captionTemplates: ["a photograph of {}", "{}, in a photograph"] };
  const { config, tokenizer } = await start(newFolder(), { training });
  const lengths = [`a photograph of ${blue}`, `${blue}, in a photograph`].map(
    (text) => tokenizer.encode(text).length,
  );
  assert.equal(config.clip.textSeqLen, Math.max(...lengths));
  // Two tokens if it was learnt, 11 of bytes otherwise.
  assert.ok(tokenizer.encode(" photograph").length <= 2);
  await assert.rejects(start(newFolder(), { training: { captionTemplates: ["a photo"] } }), {
    name: "ClipsmithError",
    message: /captionTemplates: it needs \{\} where the caption goes/,
  });
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
  const long = async () => ({ captions: ["0123456789 ".repeat(20)], samples: 2 });
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
  assert.equal((await resumeRun(folder, countSamples)).training.seed, 5);
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
  const resumed = await resumeRun(folder, countSamples);
  assert.equal(resumed.checkpoint, undefined);
  assert.deepEqual(resumed.weights, started.weights);
  assert.deepEqual(resumed.training, started.training);
  assert.deepEqual(resumed.config, started.config);
});

test("what cannot be resumed says why", async () => {
  const folder = newFolder();
  await assert.rejects(resumeRun(folder, countSamples), {
    name: "ClipsmithError",
    message: /^There is no run to resume in .*training\.json.*Leave out --resume to start one\.$/,
  });
  await start(folder);
  const training = join(folder, runFiles.training);
  const text = await readFile(training, "utf8");
  await writeFile(training, text.slice(0, -5));
  await assert.rejects(resumeRun(folder, countSamples), {
    name: "ClipsmithError",
    message:
      /^Cannot read .*training\.json: .*JSON.* Mend it: .* Its checkpoints are as they were\.$/,
  });
  await writeFile(training, text);
  await saveCheckpoint(join(folder, runFiles.checkpoints), {
    step: 3,
    tensors: new Map([["temperature", { shape: [], data: Float32Array.of(2) }]]),
    state: { totalSteps: 5 },
  });
  await assert.rejects(resumeRun(folder, countSamples), {
    name: "ClipsmithError",
    message: /step-00000003 has no text_transformer\.cls_token: is it of another model\?/,
  });
  await writeFile(join(folder, runFiles.training), '{"minutes": -1}');
  await assert.rejects(resumeRun(folder, countSamples), {
    name: "ClipsmithError",
    message: /training\.json: minutes: /,
  });
});

test("a checkpoint knows what it was made with", async () => {
  const folder = newFolder();
  const { configuration, weights } = await start(folder, { training: { seed: 3 } });
  await saveCheckpoint(join(folder, runFiles.checkpoints), {
    step: 3,
    tensors: new Map([...weights].map(([name, data]) => [name, { shape: [data.length], data }])),
    state: { configuration },
  });
  assert.deepEqual((await resumeRun(folder, countSamples)).warnings, []);
  const edit = async (file: string, from: string, to: string) => {
    const path = join(folder, file);
    const text = await readFile(path, "utf8");
    assert.ok(text.includes(from), text);
    await writeFile(path, text.replace(from, to));
    return () => writeFile(path, text);
  };
  await edit(runFiles.training, '"seed": 3', '"seed": 4');
  const [warning] = (await resumeRun(folder, countSamples)).warnings;
  assert.match(warning!, /^Options of training have changed since .*: seed was 3 and is 4\.$/);
  for (const [file, from, to, message] of [
    [
      "config.json",
      '"textHeads": 2',
      '"textHeads": 4',
      /: clip\.textHeads was 2 and is 4\. Put back/,
    ],
    ["config.json", '"textHeads": 2,', "", /: clip\.textHeads was 2 and is not set\. Put back/],
    ["tokenizer.json", "{", "{ ", /: tokenizer\.json has changed\. Put back the files/],
  ] as const) {
    const restore = await edit(file, from, to);
    await assert.rejects(resumeRun(folder, countSamples), { name: "ClipsmithError", message });
    await restore();
  }
});

test("causal texts end with the tokenizer's end token, for which there is room", async () => {
  for (const tokenizer of [undefined, "openai"] as const) {
    const path = tokenizer && join(root, "for-causal.json");
    if (path) await new OpenAITokenizer([["r", "e"]]).save(path);
    const clip = { ...tinyClip, textCausalMask: true };
    const folder = newFolder();
    const run = { model: { clip }, ...(path && { tokenizer: path }) };
    const causal = await start(folder, run);
    const plain = await start(newFolder(), path ? { tokenizer: path } : {});
    assert.equal(causal.config.clip.textEosId, causal.tokenizer.eosId);
    assert.equal(causal.config.clip.textSeqLen, plain.config.clip.textSeqLen + 1);
    assert.equal(plain.config.clip.textEosId, undefined);
    assert.deepEqual((await resumeRun(folder, countSamples)).config, causal.config);
    // Told again, it is no contradiction.
    const own = { clip: { ...clip, textEosId: causal.tokenizer.eosId, textPadId: 0 } };
    assert.deepEqual((await start(newFolder(), { ...run, model: own })).config, causal.config);
  }
});

test("special tokens other than the tokenizer's are refused before anything is written", async () => {
  for (const [clip, message] of [
    [
      { textPadId: 7 },
      "clip.textPadId is 7, but the tokenizer fills up texts with 0. Leave it out.",
    ],
    [
      { textCausalMask: true, textEosId: 7 },
      "clip.textEosId is 7, but the tokenizer ends texts with 1. Leave it out.",
    ],
    [
      { textCausalMask: true, textEosId: 99999 },
      "clip.textEosId is 99999, but the tokenizer ends texts with 1. Leave it out.",
    ],
  ] as const) {
    const folder = newFolder();
    const run = { model: { clip: { ...tinyClip, ...clip } } };
    await assert.rejects(start(folder, run), { name: "ClipsmithError", message });
    assert.deepEqual(await readdir(folder), []);
  }
});

test("compat starts as x-clip does, and leaves the temperature free", async () => {
  const deviation = (values: Float32Array) =>
    Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  const embeddings = "text_transformer.token_emb.weight";
  const clip = { ...tinyClip, compat: "x-clip" as const };
  const folder = newFolder();
  const compat = await start(folder, { model: { clip } });
  assert.equal(compat.weights.get("temperature")![0], 1);
  assert.equal(compat.training.maxLogitScale, null);
  assert.ok(Math.abs(deviation(compat.weights.get(embeddings)!) - 1) < 0.05);
  const resumed = await resumeRun(folder, countSamples);
  assert.deepEqual(resumed.weights, compat.weights);
  assert.deepEqual(resumed.training, compat.training);

  const plain = await start(newFolder());
  assert.ok(Math.abs(plain.weights.get("temperature")![0]! - Math.log(1 / 0.07)) < 1e-6);
  assert.equal(plain.training.maxLogitScale, 100);
  assert.ok(Math.abs(deviation(plain.weights.get(embeddings)!) - 0.02) < 0.001);
  // What is asked for wins.
  const own = await start(newFolder(), {
    model: { clip },
    training: { initialLogitScale: 5, maxLogitScale: 3, embeddingDeviation: 0.5 },
  });
  assert.ok(Math.abs(own.weights.get("temperature")![0]! - Math.log(3)) < 1e-6);
  assert.ok(Math.abs(deviation(own.weights.get(embeddings)!) - 0.5) < 0.05);
});

test("the sigmoid loss starts at the odds of a match in a batch", async () => {
  const many = async () => ({ captions: ["a", "b"], samples: 20 });
  const clip = { ...tinyClip, sigmoidLoss: true };
  for (const [batchSize, bias] of [
    [8, -Math.log(7)],
    [500, -Math.log(19)],
    [2, 0],
  ] as const) {
    const run = await startRun(newFolder(), many, { model: { clip }, training: { batchSize } });
    assert.ok(Math.abs(run.weights.get("logit_bias")![0]! - bias) < 1e-6);
  }
  assert.ok(!(await start(newFolder())).weights.has("logit_bias"));
});

test("batch norm's statistics start at those of nothing, and are resumed", async () => {
  const clip = { ...tinyClip, useVisualSsl: true, visualSslProjectionHiddenSize: 4 };
  const folder = newFolder();
  const { weights } = await start(folder, { model: { clip } });
  const prefix = "visual_ssl.online_predictor.1";
  assert.deepEqual(weights.get(`${prefix}.running_mean`), new Float32Array(4));
  assert.deepEqual(weights.get(`${prefix}.running_var`), new Float32Array(4).fill(1));
  assert.deepEqual(weights.get(`${prefix}.num_batches_tracked`), new Float32Array(1));
  const changed = new Map([...weights].map(([name, x]) => [name, x.map((v) => v + 2)]));
  await saveCheckpoint(join(folder, runFiles.checkpoints), {
    step: 3,
    tensors: new Map([...changed].map(([name, data]) => [name, { shape: [data.length], data }])),
    state: {},
  });
  assert.deepEqual((await resumeRun(folder, countSamples)).weights, changed);
});

test("objectives at odds are refused before a run is replaced", async () => {
  const folder = newFolder();
  await start(folder);
  const before = await readFile(join(folder, "config.json"), "utf8");
  for (const [clip, message] of [
    [{ sigmoidLoss: true, hopfieldRetrieval: true }, /two objectives: choose one/],
    [{ useVisualSsl: true, visualSslHiddenLayer: 9 }, /no hidden layer 9/],
    [{ useMlm: true, mlmMaskTokenId: 99999 }, /mlmMaskTokenId \(99999\) must be at most/],
    [{ compat: "xclip" as "x-clip" }, /^model options: clip\.compat: .*"x-clip"/],
    [{ textCausalMask: true, useAllTokenEmbeds: true, textSeqLen: 1 }, /room for the end token/],
  ] as const) {
    await assert.rejects(
      start(folder, { model: { clip: { ...tinyClip, ...clip } }, overwrite: true }),
      { name: "ClipsmithError", message },
    );
    assert.equal(await readFile(join(folder, "config.json"), "utf8"), before);
  }
});
