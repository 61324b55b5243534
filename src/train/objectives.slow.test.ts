/** Every objective, trained for some steps: it learns, can be stopped, and gives a model that embeds. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ClipOptions, ClipParts } from "../clip/index.js";
import type { Sample } from "../data/index.js";
import { add, concat, embedding, mean, mul, reshape } from "../graph/index.js";
import { loadModel, Model } from "../model/index.js";
import type { TrainingOptions } from "./options.js";
import { runFiles } from "./run-folder.js";
import { colourSamples, learntMetrics, stopAfter, TextSink, tinyClip } from "./testing.js";
import { train } from "./train.js";

const STEPS = 12;
const ssl: ClipOptions = { useVisualSsl: true, visualSslProjectionHiddenSize: 16 };

const objectives: Readonly<
  Record<
    string,
    {
      clip: ClipOptions;
      training?: TrainingOptions;
      parts?: ClipParts;
      terms?: readonly string[];
    }
  >
> = {
  "causal text": { clip: { textCausalMask: true, textRotaryPosEmb: true } },
  FILIP: { clip: { useAllTokenEmbeds: true } },
  "FILIP, causal, downsampled": {
    clip: {
      useAllTokenEmbeds: true,
      textCausalMask: true,
      visualPatchSize: 2,
      downsampleImageEmbeds: true,
    },
  },
  "masked words": { clip: { useMlm: true }, terms: ["textSsl"] },
  "masked words of causal text": {
    clip: { useMlm: true, textCausalMask: true, mlmRandomTokenProb: 0.1 },
    terms: ["textSsl"],
  },
  SimSiam: { clip: ssl, terms: ["imageSsl"] },
  SimCLR: { clip: { ...ssl, visualSslType: "simclr" }, terms: ["imageSsl"] },
  "SimSiam of a hidden layer": {
    clip: { ...ssl, visualSslHiddenLayer: "transformer" },
    terms: ["imageSsl"],
  },
  "more views": {
    clip: { decoupledContrastiveLearning: true },
    training: { augTexts: 1, augImages: 2 },
    terms: ["multiview"],
  },
  SigLIP: { clip: { sigmoidLoss: true } },
  CLOOB: { clip: { hopfieldRetrieval: true, extraLatentProjection: true } },
  "similarity regularisation": {
    clip: { simRegLossWeight: 0.5 },
    terms: ["similarityRegularisation"],
  },
  "parts of one's own": {
    clip: { useMlm: true },
    parts: {
      textEncoder: (scope, { numTextTokens, dimText }) => {
        const table = scope.embedding("words", numTextTokens + 1, dimText);
        return {
          call: (text) => {
            const words = embedding(table, text);
            return concat([mean(words, 1, true), words], 1);
          },
        };
      },
      visualSsl: (scope) => {
        const steps = scope.buffer("steps", [], new Float32Array(1), "I64");
        const weight = scope.parameter("weight", [], { kind: "constant", value: 1 });
        return {
          passes: 1,
          loss: (encode, { views, patchIndices }, updates) => {
            updates.write(steps, add(updates.read(steps), 1));
            const encoded = mul(encode(views[0], patchIndices?.[0]), weight);
            return mean(reshape(mul(encoded, encoded), [-1]), 0);
          },
        };
      },
    },
    terms: ["textSsl", "imageSsl"],
  },
  "everything as x-clip does": {
    clip: {
      ...ssl,
      compat: "x-clip",
      useMlm: true,
      extraLatentProjection: true,
      simRegLossWeight: 0.1,
    },
    training: { augTexts: 1, augImages: 1, freezeTextEncoder: true },
    terms: ["textSsl", "imageSsl", "multiview", "similarityRegularisation"],
  },
};

let root: string;
let samples: Sample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-objectives-"));
  const plain = await colourSamples(join(root, "pictures"));
  samples = plain.map(({ picture, captions: [name] }, i) => ({
    picture,
    captions: [`a ${name} square`, ...(i % 2 ? [`so ${name}`] : [])],
  }));
});
after(() => rm(root, { recursive: true }));

for (const [name, { clip, training = {}, parts, terms = [] }] of Object.entries(objectives)) {
  test(`${name}: learns, goes on after a stop as if there had been none, and embeds`, async () => {
    const run = (out: string, options: { resume?: boolean; signal?: AbortSignal } = {}) =>
      train({
        out,
        samples,
        model: { clip: { ...tinyClip, ...clip } },
        training: { steps: STEPS, batchSize: 4, learningRate: 1e-2, warmupSteps: 2, ...training },
        runtime: { threads: 1 },
        progress: { stream: new TextSink() },
        ...(parts && { parts }),
        ...options,
      });
    const [whole, stopped] = [join(root, name), join(root, `${name}, stopped`)];
    await run(whole);
    assert.equal((await run(stopped, { signal: stopAfter(7) })).finished, false);
    await run(stopped, { resume: true });
    const metrics = learntMetrics(join(whole, runFiles.metrics));
    assert.deepEqual(learntMetrics(join(stopped, runFiles.metrics)), metrics);
    const { weights } = await loadModel(whole, parts);
    assert.deepEqual((await loadModel(stopped, parts)).weights, weights);
    for (const [path, values] of weights) {
      assert.ok(values.every(Number.isFinite), path);
      // A step counts a batch for each view, x-clip's SimSiam for its targets, too.
      if (/num_batches_tracked|steps$/.test(path)) assert.equal(values[0]! % STEPS, 0, path);
    }

    const mean = (part: typeof metrics, term: string) =>
      part.reduce((sum, line) => sum + (line[term] as number), 0) / part.length;
    assert.ok(mean(metrics.slice(-4), "loss") < mean(metrics.slice(0, 4), "loss"));
    const expected = terms.length > 0 ? ["contrastive", ...terms] : [];
    const usual = ["step", "loss", "gradientNorm", "learningRate", "logitScale"];
    assert.deepEqual(
      Object.keys(metrics[0]!)
        .filter((key) => !usual.includes(key))
        .toSorted(),
      expected.toSorted(),
    );

    const model = await Model.load(whole, { threads: 1 }, parts);
    const texts = await model.embedTexts([...samples[0]!.captions, "a word unheard of", ""]);
    const { embeddings, failed } = await model.embedPictures(samples.map((s) => s.picture));
    await model.release();
    assert.deepEqual(failed, []);
    for (const rows of [texts, embeddings]) {
      for (let row = 0; row < rows.length; row += model.width) {
        const length = Math.hypot(...rows.subarray(row, row + model.width));
        assert.ok(Math.abs(length - 1) < 1e-5, `length ${length}`);
      }
    }
  });
}
