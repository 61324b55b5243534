/** Objectives by way of the command line: trained, evaluated, exported and imported again. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadModel } from "../model/index.js";
import { learntMetrics } from "../train/testing.js";
import { readSafetensors } from "../weights/index.js";
import { clipsmith, makeCollection, tinyModel } from "./testing.js";

let folder: string;
let collection: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-cli-objectives-"));
  collection = join(folder, "colours");
  await makeCollection(collection, 9);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const set = (...settings: readonly string[]) => settings.flatMap((text) => ["--set", text]);
const ssl = ["clip.useVisualSsl=true", "clip.visualSslProjectionHiddenSize=16"];

async function succeeded(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await clipsmith(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

const train = (out: string, ...settings: readonly string[]) => [
  ...["train", collection, "--out", out, "--steps", "4", ...tinyModel, ...set(...settings)],
];

for (const [name, settings, terms] of [
  [
    "self-supervision of texts and pictures, and more views",
    [...ssl, "clip.useMlm=true", "training.augTexts=1", "training.augImages=1"],
    ["contrastive", "imageSsl", "multiview", "textSsl"],
  ],
  [
    "everything of x-clip, with causal texts",
    [
      ...ssl,
      "clip.compat=x-clip",
      "clip.visualSslType=simclr",
      "clip.useMlm=true",
      "clip.textCausalMask=true",
      "clip.extraLatentProjection=true",
      "clip.decoupledContrastiveLearning=true",
    ],
    ["contrastive", "imageSsl", "textSsl"],
  ],
  [
    "FILIP with causal texts",
    ["clip.useAllTokenEmbeds=true", "clip.textCausalMask=true", "clip.downsampleImageEmbeds=true"],
    [],
  ],
] as const) {
  test(`${name}: trained, evaluated, exported and imported`, async () => {
    const out = join(folder, name);
    await succeeded(...train(out, ...settings));
    const metrics = learntMetrics(join(out, "metrics.jsonl"));
    assert.equal(metrics.length, 4);
    for (const line of metrics) {
      const usual = ["step", "loss", "gradientNorm", "learningRate", "logitScale"];
      const own = Object.keys(line).filter((key) => !usual.includes(key));
      assert.deepEqual(own.toSorted(), terms);
      for (const value of Object.values(line)) assert.ok(Number.isFinite(value));
    }
    assert.match(await succeeded("eval", out, collection, "--threads", "1"), /\d/);

    const file = join(folder, `${name}.safetensors`);
    await succeeded("export", out, "--out", file);
    const { tensors } = await readSafetensors(file);
    const repeated = [...tensors.keys()].filter((key) =>
      /^(mlm\.transformer|visual_ssl\.net)\./.test(key),
    );
    assert.equal(repeated.length > 0, terms.length > 0);
    const back = join(folder, `${name}, back`);
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
    const told = Object.entries(config.clip)
      .filter(([key]) => /heads$|compat|extraLatent|decoupled/i.test(key))
      .map(([key, value]) => `clip.${key}=${JSON.stringify(value)}`);
    const tokenizer = join(out, "tokenizer.json");
    await succeeded("import", file, "--out", back, "--tokenizer", tokenizer, ...set(...told));
    assert.deepEqual((await loadModel(back)).weights, (await loadModel(out)).weights);
    const imported = JSON.parse(readFileSync(join(back, "config.json"), "utf8"));
    // Shapes tell what the run left to its default.
    delete imported.clip.visualSslProjectionSize;
    assert.deepEqual(imported, config);
  });
}

test("what is at odds is told in terms of the settings, and nothing is written", async () => {
  const cases: readonly [settings: readonly string[], message: RegExp][] = [
    [["clip.useMlm=yes"], /^--set clip\.useMlm=yes: model\.clip\.useMlm: expected true or false/],
    [
      ["clip.useMlmm=true"],
      /^--set clip\.useMlmm=true: model\.clip: there is no option "useMlmm"; did you mean "useMlm"/,
    ],
    [
      ["clip.visualSslType=simsam"],
      /visualSslType=simsam: model\.clip\.visualSslType: .*"simsiam" or "simclr"/,
    ],
    [
      ["clip.sigmoidLoss=true", "clip.hopfieldRetrieval=true"],
      /^CLIP: sigmoidLoss and hopfieldRetrieval are two objectives: choose one$/m,
    ],
    [
      ["clip.textCausalMask=true", "clip.textEosId=5"],
      /^clip\.textEosId is 5, but the tokenizer ends texts with 1\. Leave it out\.$/m,
    ],
    [
      ["clip.useMlm=true", "clip.textSslLossWeight=0.95"],
      /textSslLossWeight \(0\.95\) and multiviewLossWeight \(0\.1\) must not exceed 1 together/,
    ],
    [
      ["clip.downsampleImageEmbeds=true"],
      /downsampleImageEmbeds needs useAllTokenEmbeds: there is no grid of one token/,
    ],
    [[...ssl, "clip.visualSslHiddenLayer=9"], /no hidden layer 9 that can be used; choose -1/],
    [["clip.visualSslHiddenLayer=1.5"], /visualSslHiddenLayer: expected an integer or text/],
    [["training.augTexts=-1"], /training\.augTexts: expected an integer from 0/],
    [["training.sslAugment.blurr=1"], /training\.sslAugment: .*did you mean "blur"/],
    [
      ["clip.numTextTokens=99"],
      /clip\.numTextTokens cannot be chosen: it is the size of the token/,
    ],
  ];
  await Promise.all(
    cases.map(async ([settings, message], i) => {
      const out = join(folder, `never-${i}`);
      const { code, stderr } = await clipsmith(...train(out, ...settings));
      assert.equal(code, 1, settings.join());
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /^\s+at .*:\d+/m, "a stack");
      assert.ok(!existsSync(join(out, "training.json")));
    }),
  );
});
