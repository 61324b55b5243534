/** Models of every objective as files: saved, exported for x-clip, and imported again. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { CLIP, type ClipOptions, type ClipParts } from "../clip/index.js";
import { trainTokenizer } from "../data/index.js";
import { embedding } from "../graph/index.js";
import { initialize } from "../nn/index.js";
import { parseOptions } from "../util/options.js";
import { random } from "../util/random.js";
import { readSafetensors } from "../weights/index.js";
import { modelConfigSchema } from "./config.js";
import { exportWeights, importModel } from "./exchange.js";
import { loadModel, type ModelParts, modelFiles, saveDescription, saveWeights } from "./folder.js";
import { Model } from "./model.js";

const tokenizer = trainTokenizer(["a red square", "a green circle"]);
const tiny: ClipOptions = {
  dimText: 8,
  dimImage: 12,
  dimLatent: 4,
  numTextTokens: tokenizer.vocabularySize,
  textEncDepth: 1,
  textSeqLen: 6,
  textHeads: 2,
  textDimHead: 4,
  visualEncDepth: 1,
  visualHeads: 2,
  visualDimHead: 4,
  visualImageSize: 16,
  visualPatchSize: 4,
};
const ssl = {
  useVisualSsl: true,
  visualSslProjectionSize: 3,
  visualSslProjectionHiddenSize: 5,
} satisfies ClipOptions;

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-objectives-"));
});
after(() => rm(root, { recursive: true }));

/** A model as after some steps: weights are drawn, and counters have counted. */
function trained(options: ClipOptions, parts: ClipParts = {}): ModelParts {
  const config = parseOptions(modelConfigSchema, { clip: { ...tiny, ...options } }, "model");
  const { parameters } = new CLIP(config.clip, parts);
  const weights = initialize(parameters, 1);
  for (const [name, { trainable, fileType }] of parameters) {
    const stream = random("trained", name);
    if (trainable) continue;
    const values = weights.get(name)!;
    for (let i = 0; i < values.length; i++) {
      values[i] = fileType === "I64" ? 1_000_003 : values[i]! + stream.uniform();
    }
  }
  return { config, tokenizer, weights };
}

async function save(folder: string, model: ModelParts, parts: ClipParts = {}): Promise<string> {
  await saveDescription(folder, model);
  await saveWeights(folder, model.config, model.weights, parts);
  return folder;
}

for (const [name, options, told] of [
  ["masked words", { useMlm: true }, {}],
  ["SimSiam", ssl, {}],
  ["SimCLR", { ...ssl, visualSslType: "simclr" }, {}],
  [
    "all self-supervision, causal",
    { ...ssl, useMlm: true, textCausalMask: true, textEosId: 1 },
    {},
  ],
  [
    "FILIP, downsampled, with extra projections",
    { useAllTokenEmbeds: true, downsampleImageEmbeds: true, extraLatentProjection: true },
    { extraLatentProjection: true },
  ],
  ["SigLIP with rotary texts", { sigmoidLoss: true, textRotaryPosEmb: true }, { textSeqLen: 6 }],
  [
    "SimSiam of a hidden layer",
    { ...ssl, visualSslHiddenLayer: "transformer" },
    { visualSslHiddenLayer: "transformer" },
  ],
] as [string, ClipOptions, ClipOptions][]) {
  test(`${name}: saved, exported with every name that x-clip knows, and imported`, async () => {
    const model = trained(options);
    const folder = await save(join(root, name), model);
    assert.deepEqual(await loadModel(folder).then(({ weights }) => weights), model.weights);

    // A file of the run says everything once; an export repeats what x-clip repeats.
    const { parameters, aliases } = new CLIP(model.config.clip);
    const { tensors } = await readSafetensors(join(folder, modelFiles.weights));
    assert.deepEqual([...tensors.keys()].toSorted(), [...parameters.keys()].toSorted());
    const file = join(root, `${name}.safetensors`);
    await exportWeights(folder, file);
    const exported = (await readSafetensors(file)).tensors;
    assert.deepEqual(
      [...exported.keys()].toSorted(),
      [...parameters.keys(), ...aliases.keys()].toSorted(),
    );
    for (const [alias, own] of aliases) assert.deepEqual(exported.get(alias), exported.get(own));
    const expectAliases = (prefix: string, of: string) => {
      const own = [...parameters.keys()].filter((path) => path.startsWith(of));
      for (const path of own) assert.ok(exported.has(prefix + path.slice(of.length)), path);
    };
    if (options.useMlm) expectAliases("mlm.transformer.", "text_transformer.");
    if (options.useVisualSsl && options.visualSslType === "simclr") {
      expectAliases("visual_ssl.net.net.", "visual_transformer.");
    } else if (options.useVisualSsl) {
      expectAliases("visual_ssl.net.", "visual_transformer.");
      expectAliases("visual_ssl.online_encoder.net.", "visual_transformer.");
    }
    const counters = [...exported].filter(([path]) => path.endsWith("num_batches_tracked"));
    assert.equal(counters.length > 0, options.useVisualSsl === true);
    for (const [, { dtype, data, shape }] of counters) {
      assert.deepEqual([dtype, shape, [...data]], ["I64", [], [1_000_003n]]);
    }

    const heads = { textHeads: 2, visualHeads: 2, channels: 3 };
    const imported = await importModel(file, {
      tokenizer,
      model: { clip: { ...heads, ...told } },
    });
    assert.deepEqual(imported.weights, model.weights);
    assert.deepEqual(imported.config, model.config);
  });
}

test("a model with parts of one's own is saved, loaded and exported with them", async () => {
  const parts: ClipParts = {
    textEncoder: (scope, { numTextTokens, dimText }) => {
      const table = scope.embedding("words", numTextTokens + 1, dimText);
      return { call: (text) => embedding(table, text) };
    },
    visualSsl: (scope, width) => {
      scope.buffer("seen", [], Float32Array.of(7), "I64");
      const gain = scope.parameter("gain", [width], { kind: "constant", value: 1 });
      return { passes: 1, loss: () => gain };
    },
  };
  const model = trained({ useMlm: true }, parts);
  const folder = await save(join(root, "own"), model, parts);
  assert.deepEqual((await loadModel(folder, parts)).weights, model.weights);
  await assert.rejects(loadModel(folder), {
    name: "ClipsmithError",
    message:
      /missing: text_transformer\.cls_token.*\n {2}unexpected: .*text_transformer\.words\.weight/,
  });
  const file = join(root, "own.safetensors");
  await exportWeights(folder, file, parts);
  const { tensors } = await readSafetensors(file);
  for (const name of ["text_transformer.words.weight", "mlm.transformer.words.weight"]) {
    assert.deepEqual(tensors.get(name)?.data, model.weights.get("text_transformer.words.weight"));
  }
  assert.equal(tensors.get("visual_ssl.seen")?.dtype, "I64");

  const loaded = await Model.load(folder, { threads: 1 }, parts);
  const embeddings = await loaded.embedTexts(["a red square", "a circle"]);
  await loaded.release();
  assert.equal(embeddings.length, 2 * 4);
  assert.ok(embeddings.every(Number.isFinite));
});
