import { CLIP } from "../../src/clip/index.js";
import { trainTokenizer } from "../../src/data/index.js";
import { Model, modelConfigSchema, pictureFormat } from "../../src/model/index.js";
import { initialize } from "../../src/nn/index.js";
import { learningRateAt, TrainingStep } from "../../src/train/index.js";
import { random } from "../../src/util/random.js";
import { captionOf } from "../shapes/scene.js";
import { bindingBatch } from "./batches.js";
import { drawSceneOf } from "./split.js";

/** What is the same for all lengths of training. */
export const recipe = {
  batchSize: 256,
  learningRate: 1e-3,
  warmupSteps: 50,
  weightDecay: 0.1,
  clip: {
    dimText: 128,
    dimImage: 128,
    dimLatent: 128,
    textEncDepth: 2,
    textHeads: 4,
    textDimHead: 32,
    visualEncDepth: 3,
    visualHeads: 4,
    visualDimHead: 32,
    visualImageSize: 48,
    visualPatchSize: 12,
    visualPatchDropout: 0,
  },
} as const;

/** Captions that the tokenizer is trained on: every word is among them. */
const CAPTIONS = 1000;
/** Steps between lines. */
const REPORT = 50;

/** Trains a model on scenes of seen things, with a line of progress now and then. */
export async function learn(steps: number, seed: number): Promise<Model> {
  const captions = Array.from({ length: CAPTIONS }, (_, i) =>
    captionOf(drawSceneOf("seen", random(seed, "tokenizer", i))),
  );
  const tokenizer = trainTokenizer(captions);
  const textSeqLen = Math.max(...captions.map((caption) => tokenizer.encode(caption).length));
  const config = modelConfigSchema.parse({
    clip: { ...recipe.clip, textSeqLen, numTextTokens: tokenizer.vocabularySize },
  });
  const clip = new CLIP(config.clip);
  const { batchSize, weightDecay } = recipe;
  const step = await TrainingStep.compile({
    clip,
    batchSize,
    textLength: textSeqLen,
    weights: startingWeights(clip, seed),
    optimizer: { weightDecay },
  });
  const format = pictureFormat(config);
  const logScale = step.optimizer.parameters.get(CLIP.logitScale)!;
  let sum = 0;
  for (let at = 0; at < steps; at++) {
    const batch = bindingBatch(at, { batchSize, textLength: textSeqLen, tokenizer, format, seed });
    const learningRate = learningRateAt(at, { ...recipe, totalSteps: steps });
    const { loss } = await step.run(batch, { learningRate, maxGradientNorm: 1 });
    logScale[0] = Math.min(Math.max(logScale[0]!, 0), Math.log(100));
    sum += loss;
    if ((at + 1) % REPORT === 0) {
      console.error(`step ${at + 1} of ${steps}, loss ${(sum / REPORT).toFixed(3)}`);
      sum = 0;
    }
  }
  const weights = new Map(step.optimizer.parameters);
  await step.release();
  return new Model({ config, tokenizer, weights });
}

/** As `train` starts: small embeddings, and CLIP's logit scale. */
function startingWeights(clip: CLIP, seed: number): Map<string, Float32Array> {
  const weights = initialize(clip.parameters, seed);
  for (const [name, { initializer }] of clip.parameters) {
    if (initializer.kind !== "normal") continue;
    weights.set(
      name,
      weights.get(name)!.map((value) => value * 0.02),
    );
  }
  weights.get(CLIP.logitScale)![0] = Math.log(1 / 0.07);
  return weights;
}
