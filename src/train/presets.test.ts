import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP } from "../clip/index.js";
import { initialize, parameterGradients } from "../nn/index.js";
import { random } from "../util/random.js";
import { trainingOptionsSchema } from "./options.js";
import { presets } from "./presets.js";
import { TrainingStep } from "./step.js";

test("presets have the number of parameters that their descriptions tell", () => {
  for (const [name, { clip, description }] of Object.entries(presets)) {
    const { parameterCount } = new CLIP({ ...clip, numTextTokens: 8192, textSeqLen: 77 });
    const millions = Number((parameterCount / 1e6).toPrecision(2));
    assert.ok(description.startsWith(`${millions} M parameters`), `${name}: ${parameterCount}`);
  }
});

test("presets say the size of their pictures", () => {
  for (const { clip, description } of Object.values(presets)) {
    const { visualImageSize } = new CLIP(clip).options;
    assert.ok(description.includes(`pictures of ${visualImageSize} px`), description);
  }
});

test("presets' training fits their models: a step of each has a scalar loss and all gradients", () => {
  for (const [name, { clip: options, training }] of Object.entries(presets)) {
    assert.equal(trainingOptionsSchema.parse(training).batchSize, training.batchSize);
    const clip = new CLIP({ ...options, numTextTokens: 300, textSeqLen: 16 });
    const inputs = clip.inputs(training.batchSize, { textLength: 16, training: true });
    const { visualImageSize: size } = clip.options;
    assert.deepEqual(inputs.image.shape, [training.batchSize, 3, size, size], name);
    const loss = clip.loss(inputs);
    assert.deepEqual(loss.shape, [], name);
    for (const [parameter, gradient] of parameterGradients(loss, clip.parameters)) {
      assert.deepEqual(gradient.shape, clip.parameters.get(parameter)!.shape, parameter);
    }
  }
});

test("the smallest preset takes a step", async () => {
  const { clip: options, training } = presets.laptop;
  const clip = new CLIP({ ...options, numTextTokens: 300, textSeqLen: 8 });
  const [batchSize, textLength] = [8, 8];
  const step = await TrainingStep.compile({
    ...{ clip, batchSize, textLength, weights: initialize(clip.parameters, 0) },
    runtime: { threads: 1 },
  });
  const stream = random("presets");
  const { loss, gradientNorm } = await step.run(
    {
      text: Int32Array.from({ length: batchSize * textLength }, () => 1 + stream.integer(299)),
      image: Float32Array.from({ length: batchSize * 3 * 64 * 64 }, () => stream.normal()),
      patchIndices: Int32Array.from({ length: batchSize * clip.keptPatches }, (_, i) => i % 64),
    },
    { learningRate: training.learningRate },
  );
  await step.release();
  // Nothing is known yet: about the logarithm of the batch.
  assert.ok(Math.abs(loss - Math.log(batchSize)) < 1, `${loss}`);
  assert.ok(gradientNorm > 0);
});
