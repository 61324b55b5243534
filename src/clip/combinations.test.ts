/** Options together, among them all that x-clip cannot run. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { evaluate, graph, input, mean, reshape, type Tensor } from "../graph/index.js";
import {
  assertClose,
  assertRuns,
  floats,
  integers,
  numbers,
  type Values,
} from "../graph/testing.js";
import { parameterGradients } from "../nn/index.js";
import { CLIP } from "./clip.js";
import type { InputOptions } from "./inputs.js";
import type { ClipOptions } from "./options.js";
import type { VisualSsl } from "./parts.js";

const BATCH = 3;
const EOS = 1;

const tiny: ClipOptions = {
  dimText: 8,
  dimImage: 12,
  dimLatent: 4,
  numTextTokens: 20,
  textEncDepth: 1,
  textSeqLen: 6,
  textHeads: 2,
  textDimHead: 4,
  visualEncDepth: 1,
  visualHeads: 2,
  visualDimHead: 4,
  visualImageSize: 16,
  visualPatchSize: 4,
  visualSslProjectionSize: 3,
  visualSslProjectionHiddenSize: 5,
};

/** Loss and gradients of a training step. */
function training(clip: CLIP, inputs: InputOptions = {}) {
  const { loss, terms } = clip.losses(clip.inputs(BATCH, { ...inputs, training: true }));
  const gradients = parameterGradients(loss, clip.parameters);
  const named = [...gradients].map(([name, g]) => [`gradient of ${name}`, g] as const);
  return { loss, terms, gradients, graph: graph({ loss, ...Object.fromEntries(named) }) };
}

/** Texts that end by EOS and are padded, pictures, patches; parameters drawn by their names. */
function valuesFor(names: Iterable<readonly [string, Tensor]>): Values {
  return Object.fromEntries(
    [...names].map(([name, { shape: dims, dtype }]) => {
      const shape = dims as readonly number[];
      if (name === "mlm.labels") {
        const labels = shape[0]! * shape[1]!;
        return [
          name,
          numbers(
            Array.from({ length: labels }, (_, i) => (i % 6 ? 0 : 7)),
            shape,
            dtype,
          ),
        ];
      }
      if (/text|mlm\./i.test(name) && dtype === "int32") {
        const words = integers(shape, 2, 20, "int32");
        const data = words.data.map((id, i) => {
          const [row, at] = [Math.floor(i / 6), i % 6];
          return at < 2 + row ? id : at === 2 + row ? EOS : 0;
        });
        return [name, { ...words, data }];
      }
      if (dtype === "int32") {
        const kept = Array.from({ length: shape[0]! * shape[1]! }, (_, i) => (5 * i) % 16);
        return [name, numbers(kept, shape, dtype)];
      }
      return [name, floats(shape, name.endsWith("running_var") ? 0.5 : -1, 1, name)];
    }),
  );
}

async function assertTrains(clip: CLIP, inputs?: InputOptions): Promise<void> {
  const { graph: step } = training(clip, inputs);
  const values = valuesFor(step.inputs);
  for (const [name, { data }] of Object.entries(evaluate(step, values))) {
    assert.ok(data.every(Number.isFinite), name);
  }
  await assertRuns(step, values, 1e-3, "in float32");
}

describe("what x-clip cannot run trains", () => {
  const causal = { textCausalMask: true, textEosId: EOS };
  const filip = { useAllTokenEmbeds: true };
  const cases: Record<string, readonly [ClipOptions, InputOptions?]> = {
    "causal texts": [causal],
    "causal texts with rotary embeddings": [{ ...causal, textRotaryPosEmb: true }],
    "causal texts token by token": [{ ...causal, ...filip }],
    "causal texts token by token, end token and all": [
      { ...causal, ...filip, textHasClsToken: false },
    ],
    "causal texts and masked words": [{ ...causal, useMlm: true }],
    "token by token with the built-in CLS token": [{ ...filip, textHasClsToken: false }],
    "similarity regularisation of one projection": [{ simRegLossWeight: 0.5 }],
    "similarity regularisation token by token, with more views": [
      { ...filip, simRegLossWeight: 0.5, extraLatentProjection: true },
      { augTexts: 1, augImages: 2 },
    ],
    "downsampling with half of the patches": [{ ...filip, downsampleImageEmbeds: true }],
    "downsampling with 11 of 16 patches": [
      { ...filip, downsampleImageEmbeds: true, visualPatchDropout: 0.3 },
    ],
    "unequal numbers of views": [{}, { augTexts: 2, augImages: 1 }],
    "SimCLR on a hidden layer": [
      { useVisualSsl: true, visualSslType: "simclr", visualSslHiddenLayer: -2 },
    ],
  };
  for (const [what, [options, inputs]] of Object.entries(cases)) {
    test(what, () => assertTrains(new CLIP({ ...tiny, ...options }), inputs));
  }
});

test("dropout of attention and feed-forward is no option", () => {
  assert.throws(() => new CLIP({ ...tiny, attnDropout: 0.1 } as ClipOptions), {
    name: "ClipsmithError",
    message: /there is no option "attnDropout"/,
  });
});

test("padding that the text encoder sees is still no word to guess or to compare", () => {
  const clip = new CLIP({
    ...tiny,
    useAllTokenEmbeds: true,
    useMlm: true,
    textEncodeWithoutMask: true,
  });
  const { terms } = training(clip);
  const values = valuesFor(graph({ ...terms }).inputs);
  const table = values["text_transformer.token_emb.weight"]!;
  const padding = (value: number) => {
    const data = table.data.map((x, i) => (i < 8 ? value * (1 + (i % 3)) : x));
    return evaluate(graph({ ...terms }), {
      ...values,
      "text_transformer.token_emb.weight": { ...table, data },
    });
  };
  const [before, after] = [padding(1), padding(-2)];
  assert.notDeepEqual(after.contrastive, before.contrastive, "the encoder sees it");
  assert.deepEqual(after.textSsl, before.textSsl, "masked words are told without it");
  const mask = clip.textMask(input("text", [1, 6], "int32"))!;
  const text = numbers([4, 5, EOS, 0, 0, 0], [1, 6], "int32");
  assert.deepEqual([...evaluate(graph({ mask }), { text }).mask!.data], [1, 1, 1, 0, 0, 0]);
});

test("rotary texts may be longer than textSeqLen, others not", () => {
  const encode = (textRotaryPosEmb: boolean) => {
    const clip = new CLIP({ ...tiny, textRotaryPosEmb });
    return clip.encodeText(clip.inputs(2, { textLength: 9 }).text);
  };
  assert.deepEqual(encode(true).shape, [2, 10, 8]);
  assert.throws(() => encode(false), { message: /T at most 6, is \[2, 9\]/ });
});

test("the pooled image token is learnt where it is compared", () => {
  const name = "visual_transformer.to_cls_tokens.1.weight";
  const isLearnt = (options: ClipOptions) => {
    const g = graph({ y: training(new CLIP({ ...tiny, ...options })).gradients.get(name)! });
    return evaluate(g, valuesFor(g.inputs)).y!.data.some((x) => x !== 0);
  };
  assert.ok(isLearnt({}));
  assert.ok(!isLearnt({ useAllTokenEmbeds: true }));
  assert.ok(isLearnt({ useAllTokenEmbeds: true, visualHasClsToken: false }));
});

test("self-supervision that is given is on; as x-clip it weighs nothing without useVisualSsl", () => {
  /** Asks for small outputs of the encoder. */
  const visualSsl = (): VisualSsl => ({
    passes: 1,
    loss: (encode, { views }) => mean(reshape(encode(views[0]), [-1]), 0),
  });
  const weightOf = (options: ClipOptions) => {
    const clip = new CLIP({ ...tiny, imageSslLossWeight: 0.3, ...options }, { visualSsl });
    const { loss, terms, gradients } = training(clip);
    assert.ok(gradients.has("visual_transformer.pos_emb.weight"));
    const g = graph({ loss, ...terms });
    const { loss: all, contrastive, imageSsl } = evaluate(g, valuesFor(g.inputs));
    return (all!.data[0]! - contrastive!.data[0]!) / (imageSsl!.data[0]! - contrastive!.data[0]!);
  };
  assertClose([weightOf({})], [0.3], 1e-6, "given");
  assertClose([weightOf({ compat: "x-clip" })], [0], 1e-6, "given, as x-clip");
  assertClose([weightOf({ compat: "x-clip", useVisualSsl: true })], [0.3], 1e-6, "asked for");
});
