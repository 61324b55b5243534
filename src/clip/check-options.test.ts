import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP } from "./clip.js";
import type { ClipOptions } from "./options.js";
import type { ClipParts } from "./parts.js";
import { tiny } from "./testing.js";

const tokenwise = { useAllTokenEmbeds: true };
const downsampled = { ...tokenwise, downsampleImageEmbeds: true };
const causal = { textCausalMask: true, textEosId: 3 };
const ownImages: ClipParts = { imageEncoder: () => ({ call: (image) => image }) };
const ownSsl: ClipParts = { visualSsl: () => ({ passes: 1, loss: (_, { views }) => views[0] }) };

const refusals: readonly [options: ClipOptions, message: string, parts?: ClipParts][] = [
  [{ visualImageSize: 10 }, "visualImageSize (10) must be a multiple of visualPatchSize (4)"],
  [
    { ...downsampled, visualImageSize: 10 },
    "visualImageSize (10) must be a multiple of visualPatchSize (4)",
    ownImages,
  ],
  [
    { textRotaryPosEmb: true, textDimHead: 3 },
    "textDimHead (3) must be even for textRotaryPosEmb, which turns features in pairs",
  ],
  [
    { textCausalMask: true },
    "textCausalMask needs textEosId: a causal text is seen whole only from its end token",
  ],
  [
    { ...causal, textEosId: 20 },
    "textEosId (20) must be one of the numTextTokens (20) tokens, below their number",
  ],
  [
    { ...causal, textEosId: 5, textPadId: 5 },
    "textEosId and textPadId are both 5, but padding is not seen",
  ],
  [
    { textHasClsToken: false, visualHasClsToken: false },
    "textHasClsToken and visualHasClsToken are both false, but without useAllTokenEmbeds only the first " +
      "token of each is compared",
  ],
  [
    { downsampleImageEmbeds: true },
    "downsampleImageEmbeds needs useAllTokenEmbeds: there is no grid of one token",
  ],
  [
    { ...downsampled, visualHasClsToken: false },
    "downsampleImageEmbeds needs visualHasClsToken: the pooled token has no place in the grid",
  ],
  [
    { ...downsampled, visualPatchSize: 8 },
    "downsampleImageEmbeds halves a grid, but there are 1 patches",
  ],
  [
    { ...downsampled, compat: "x-clip", visualImageSize: 16, visualPatchDropout: 0.3 },
    'visualPatchDropout (0.3) keeps 11 patches, of which compat "x-clip" can make no grid for ' +
      "downsampleImageEmbeds: keep more or fewer, or leave compat out",
  ],
  [
    { ...downsampled, compat: "x-clip" },
    'visualPatchDropout (0.5) keeps 2 patches, of which compat "x-clip" can make no grid for ' +
      "downsampleImageEmbeds: keep more or fewer, or leave compat out",
  ],
  [
    { ...tokenwise, ...causal, textSeqLen: 1 },
    "textSeqLen (1) has room for the end token alone, and useAllTokenEmbeds compares the others",
  ],
  [
    { ...tokenwise, hopfieldRetrieval: true },
    "hopfieldRetrieval compares whole texts and pictures, useAllTokenEmbeds their tokens",
  ],
  [
    { sigmoidLoss: true, decoupledContrastiveLearning: true },
    "sigmoidLoss has no denominators that decoupledContrastiveLearning could change",
  ],
  [
    { sigmoidLoss: true, hopfieldRetrieval: true },
    "sigmoidLoss and hopfieldRetrieval are two objectives: choose one",
  ],
  [
    { multiviewLossWeight: 1.5 },
    "multiviewLossWeight (1.5) must not exceed 1: what is given to them is taken from the contrastive loss",
  ],
  [
    { useMlm: true, textSslLossWeight: 0.95 },
    "textSslLossWeight (0.95) and multiviewLossWeight (0.1) must not exceed 1 together: what is given to them is " +
      "taken from the contrastive loss",
  ],
  [
    { useMlm: true, textSslLossWeight: 0.3, imageSslLossWeight: 0.7 },
    "textSslLossWeight (0.3), imageSslLossWeight (0.7) and multiviewLossWeight (0.1) must not exceed 1 " +
      "together: what is given to them is taken from the contrastive loss",
    ownSsl,
  ],
  [{ visualSslHiddenLayer: -1.5 }, "visualSslHiddenLayer: expected an integer or text, got -1.5"],
];

for (const [options, message, parts] of refusals) {
  test(`refused: ${message}`, () => {
    assert.throws(() => new CLIP({ ...tiny, ...options }, parts), {
      name: "ClipsmithError",
      message: `CLIP: ${message}`,
    });
  });
}

test("refused with the layers that there are: a hidden layer that is not there", () => {
  for (const visualSslHiddenLayer of [9, "pos_emb", 1]) {
    assert.throws(() => new CLIP({ ...tiny, useVisualSsl: true, visualSslHiddenLayer }), {
      name: "ClipsmithError",
      message: /no hidden layer (9|"pos_emb"|1) that can be used; choose -1 .*"to_tokens", /,
    });
  }
  assert.throws(
    () => new CLIP({ ...tiny, useVisualSsl: true, visualSslHiddenLayer: -2 }, ownImages),
    {
      name: "ClipsmithError",
      message: /^visualSslHiddenLayer \(-2\) asks for a hidden layer.*Use -1, its output\.$/,
    },
  );
});

test("not refused: what only seems to be at odds", () => {
  for (const [options, parts] of [
    // Decimals that are 1 together, and a little more in binary.
    [{ useMlm: true, textSslLossWeight: 0.7, multiviewLossWeight: 0.2, imageSslLossWeight: 0.1 }],
    [{ textSslLossWeight: 5, imageSslLossWeight: 5 }],
    [{ textEosId: 3 }],
    [{ visualImageSize: 10 }, ownImages],
    [{ ...tokenwise, textHasClsToken: false, visualHasClsToken: false }],
    [{ ...downsampled, compat: "x-clip", visualPatchDropout: 0 }],
    [{ ...tokenwise, ...causal, textSeqLen: 1, textHasClsToken: false }],
    [{ hopfieldRetrieval: true, decoupledContrastiveLearning: true }],
    [{ visualSslHiddenLayer: 9 }],
  ] as [ClipOptions, ClipParts?][]) {
    new CLIP({ ...tiny, ...options }, parts);
  }
});
