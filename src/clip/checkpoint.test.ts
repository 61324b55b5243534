/** `checkpointDuringTraining` changes what a training step keeps, and no number. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, type Graph, graph } from "../graph/index.js";
import { assertRuns, floats, integers, type Values } from "../graph/testing.js";
import { parameterGradients } from "../nn/index.js";
import { emit } from "../onnx/index.js";
import { CLIP } from "./clip.js";
import type { ClipOptions } from "./options.js";

const BATCH = 3;

const tiny: ClipOptions = {
  dimText: 8,
  dimImage: 12,
  dimLatent: 4,
  numTextTokens: 20,
  textEncDepth: 2,
  textSeqLen: 6,
  textHeads: 2,
  textDimHead: 4,
  visualEncDepth: 2,
  visualHeads: 2,
  visualDimHead: 4,
  visualImageSize: 8,
  visualPatchSize: 4,
  visualPatchDropout: 0.5,
};

/** Loss and gradients of a batch with padding and dropped patches. */
function training(clip: CLIP): Graph {
  const loss = clip.loss(clip.inputs(BATCH, { training: true }));
  const gradients = parameterGradients(loss, clip.parameters);
  return graph({
    loss,
    ...Object.fromEntries([...gradients].map(([name, g]) => [`gradient of ${name}`, g])),
  });
}

/** How many attention layers' weights are made to wait for a gradient. */
function layersComputedAgain({ nodes }: Graph): number {
  const waiting = nodes.filter(({ operator }) => operator.name === "Mul");
  const read = waiting.flatMap(({ inputs }) => inputs.map(({ source }) => source));
  return read.filter((source) => source.kind === "input" && source.name.endsWith("to_qkv.weight"))
    .length;
}

for (const textRotaryPosEmb of [false, true]) {
  test(`gradients are those without it${textRotaryPosEmb ? ", with rotary embeddings" : ""}`, async () => {
    const options = { ...tiny, textRotaryPosEmb };
    const plain = new CLIP(options);
    const recomputed = new CLIP({ ...options, checkpointDuringTraining: true });
    const values: Values = {
      ...Object.fromEntries(
        [...plain.parameters].map(([name, { shape }]) => [name, floats(shape, -1, 1, name)]),
      ),
      text: integers([BATCH, 6], 0, 5, "int32"),
      image: floats([BATCH, 3, 8, 8]),
      patchIndices: integers([BATCH, 2], 0, 4, "int32"),
    };
    const graphs = [training(plain), training(recomputed)] as const;
    assert.equal(layersComputedAgain(graphs[0]), 0);
    assert.equal(layersComputedAgain(graphs[1]), 4, "two of each encoder");
    assert.deepEqual(evaluate(graphs[1], values), evaluate(graphs[0], values));
    await assertRuns(graphs[1], values, 1e-5, "in float32");
  });
}

test("an exported encoder shows no trace of it", () => {
  const encoders = (checkpointDuringTraining: boolean) => {
    const clip = new CLIP({ ...tiny, checkpointDuringTraining });
    const { text, image } = clip.inputs("batch");
    return emit(graph({ texts: clip.encodeText(text), images: clip.encodeImage(image) }));
  };
  assert.deepEqual(encoders(true), encoders(false));
});
