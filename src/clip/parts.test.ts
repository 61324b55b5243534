import assert from "node:assert/strict";
import { test } from "node:test";
import {
  concat,
  embedding,
  linear,
  maskedMean,
  mean,
  reshape,
  slice,
  type Tensor,
  transpose,
  type Value,
} from "../graph/index.js";
import { assertClose, floats, numbers } from "../graph/testing.js";
import { CLIP } from "./clip.js";
import type { ClipInputs } from "./inputs.js";
import type { ClipOptions } from "./options.js";
import type { ClipParts } from "./parts.js";
import { outputOf, parametersOf, tiny } from "./testing.js";

const BATCH = 3;
const text = numbers([4, 5, 6, 0, 0, 0, 7, 8, 0, 0, 0, 0, 9, 3, 2, 1, 0, 0], [BATCH, 6], "int32");
const image = floats([BATCH, 3, 8, 8]);

/** A text encoder that looks words up, and makes of them what it is told. */
function textEncoder(make: (words: Tensor, mask: Tensor | undefined) => Tensor): ClipParts {
  return {
    textEncoder: (scope, { numTextTokens, dimText }) => {
      const table = scope.embedding("table", numTextTokens + 1, dimText);
      return { call: (text, mask) => make(embedding(table, text), mask) };
    },
  };
}

/** An image encoder that takes columns of pixels for tokens, and makes of them what it is told. */
function imageEncoder(make: (tokens: Tensor) => Tensor): ClipParts {
  return {
    imageEncoder: (scope, { dimImage }) => {
      const weight = scope.linear("columns", dimImage, 24);
      return {
        call: (image) => {
          const columns = reshape(transpose(image, [0, 3, 1, 2]), [image.shape[0]!, 8, 24]);
          return make(linear(columns, weight));
        },
      };
    },
  };
}

const average = (tokens: Tensor) => mean(tokens, 1);
const averageFirst = (tokens: Tensor) => concat([mean(tokens, 1, true), tokens], 1);
const asIs = (tokens: Tensor) => tokens;

function lossOf(options: ClipOptions, parts: ClipParts): number {
  const clip = new CLIP({ ...tiny, ...options }, parts);
  const values: Record<string, Value> = {
    ...parametersOf(clip),
    text,
    image,
    patchIndices: numbers([0, 1, 1, 2, 3, 2], [BATCH, 2], "int32"),
    "mlm.sequence": { ...text, data: text.data.map((id) => (id === 6 ? 20 : id)) },
    "mlm.labels": { ...text, data: text.data.map((id) => (id === 6 ? 6 : 0)) },
  };
  const inputs: ClipInputs = clip.inputs(BATCH, { training: true });
  return outputOf(clip.loss(inputs), values)[0]!;
}

test("encoders may give one vector, or tokens with that one first", () => {
  const words = (words: Tensor, mask?: Tensor) =>
    maskedMean(words, reshape(mask!, [...mask!.shape, 1]), 1);
  const plain = lossOf({}, { ...textEncoder(words), ...imageEncoder(average) });
  assert.ok(Number.isFinite(plain));
  const first = (tokens: Tensor, mask?: Tensor) =>
    concat([reshape(words(tokens, mask), [BATCH, 1, 8]), tokens], 1);
  for (const parts of [
    { ...textEncoder(first), ...imageEncoder(average) },
    { ...textEncoder(words), ...imageEncoder(averageFirst) },
    { ...textEncoder(first), ...imageEncoder(averageFirst) },
  ]) {
    assertClose([lossOf({}, parts)], [plain], 1e-9, "loss");
  }
  // Only what an encoder of the user's replaces changes; patches are dropped of the built-in one alone.
  const clip = new CLIP({ ...tiny, useMlm: true }, textEncoder(asIs));
  assert.deepEqual(
    [...clip.parameters.keys()].filter((name) => name.startsWith("text_transformer.")),
    ["text_transformer.table.weight"],
  );
  assert.equal(clip.aliases.get("mlm.transformer.table.weight"), "text_transformer.table.weight");
  assert.ok(clip.inputs(BATCH, { training: true }).patchIndices);
  const own = new CLIP(tiny, imageEncoder(average));
  assert.equal(own.inputs(BATCH, { training: true }).patchIndices, undefined);
});

test("masked words are told from all tokens, or from those after the first", () => {
  const plain = lossOf({ useMlm: true, textHasClsToken: false }, textEncoder(asIs));
  const first = lossOf(
    { useMlm: true, textHasClsToken: false },
    {
      // The first word stands for the text in both.
      ...textEncoder((words) => concat([slice(words, 1, 0, 1), words], 1)),
    },
  );
  assertClose([first], [plain], 1e-9, "loss");
});

test("token by token, tokens may have one for the whole in front", () => {
  const tokenwise = { useAllTokenEmbeds: true, textHasClsToken: false, visualHasClsToken: false };
  const plain = lossOf(tokenwise, { ...textEncoder(asIs), ...imageEncoder(asIs) });
  const parts = { ...textEncoder(averageFirst), ...imageEncoder(averageFirst) };
  assertClose([lossOf({ useAllTokenEmbeds: true }, parts)], [plain], 1e-9, "loss");
});

test("causal text of the user's encoder is read at its end", () => {
  const causal = { textCausalMask: true, textEosId: 8 };
  const clip = new CLIP({ ...tiny, ...causal }, textEncoder(asIs));
  const values = { ...parametersOf(clip), text };
  const encoded = outputOf(clip.encodeText(clip.inputs(BATCH).text, 1), values);
  const table = values["text_transformer.table.weight" as keyof typeof values] as Value;
  // The second text ends with 8, the others at their last place, which is padding.
  const expected = [0, 8, 0].flatMap((id) => [...table.data.subarray(id * 8, id * 8 + 8)]);
  assertClose(encoded, expected, 1e-9, "encoded");
});

test("what an encoder must not give is told", () => {
  const tokenwise = { useAllTokenEmbeds: true };
  const causal = { textCausalMask: true, textEosId: 3 };
  const narrow = (tokens: Tensor) => slice(tokens, -1, 0, 4);
  const words = "one token for each of the text's 6";
  for (const [options, parts, message] of [
    [
      {},
      textEncoder(narrow),
      "the text encoder must give [B, T, 8] or [B, 8], gave [3, 6, 4]. Its width is dimText.",
    ],
    [
      {},
      imageEncoder((tokens) => narrow(average(tokens))),
      "the image encoder must give [B, T, 12] or [B, 12], gave [3, 4]. Its width is dimImage.",
    ],
    [
      tokenwise,
      textEncoder(average),
      "useAllTokenEmbeds compares tokens, but the text encoder gives one vector for each text. Give " +
        "[B, T, D], or leave useAllTokenEmbeds out.",
    ],
    [
      tokenwise,
      imageEncoder(average),
      "useAllTokenEmbeds compares tokens, but the image encoder gives one vector for each image. Give " +
        "[B, T, D], or leave useAllTokenEmbeds out.",
    ],
    [
      tokenwise,
      textEncoder(asIs),
      "with useAllTokenEmbeds the text encoder must give a token for the whole text (textHasClsToken) and " +
        `${words}, [B, 7, 8]; it gave [3, 6, 8].`,
    ],
    [
      { ...tokenwise, textHasClsToken: false },
      textEncoder(averageFirst),
      `with useAllTokenEmbeds the text encoder must give ${words}, [B, 6, 8]; it gave [3, 7, 8].`,
    ],
    [
      causal,
      textEncoder(averageFirst),
      `with textCausalMask the text encoder must give ${words}, [B, 6, 8]; it gave [3, 7, 8].`,
    ],
    [
      causal,
      textEncoder(average),
      `with textCausalMask the text encoder must give ${words}, [B, 6, 8]; it gave [3, 8].`,
    ],
    [
      { useMlm: true },
      textEncoder(average),
      "useMlm asks for masked words, but the text encoder gives one vector for each text. Give " +
        "[B, T, D], or leave useMlm out.",
    ],
    [
      { ...tokenwise, downsampleImageEmbeds: true },
      imageEncoder(averageFirst),
      "downsampleImageEmbeds needs a token for each of the 4 patches of visualImageSize and " +
        "visualPatchSize; beside the first, the image encoder gives 8.",
    ],
  ] as [ClipOptions, ClipParts, string][]) {
    assert.throws(() => lossOf(options, parts), { name: "ClipsmithError", message });
  }
});
