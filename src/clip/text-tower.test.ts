import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { evaluate, graph, input, type Value } from "../graph/index.js";
import { assertClose, floats, numbers } from "../graph/testing.js";
import { parameterGradients, Scope } from "../nn/index.js";
import { CLIP } from "./clip.js";
import type { ClipOptions } from "./options.js";
import { outputOf, parametersOf, tiny } from "./testing.js";
import { TextTransformer } from "./text-transformer.js";

const EOS = 3;
const LENGTH = 6;
const WIDTH = 8;
const causal = { ...tiny, textCausalMask: true, textEosId: EOS } satisfies ClipOptions;
/** Ends in the middle, at the start, at the end, twice, and not at all. */
const rows = [
  [5, 7, EOS, 0, 0, 0],
  [EOS, 0, 0, 0, 0, 0],
  [4, 8, 6, 2, 9, EOS],
  [4, EOS, 6, EOS, 0, 0],
  [5, 6, 7, 8, 0, 0],
];
const ends = [2, 0, 5, 1, 5];
const text = numbers(rows.flat(), [rows.length, LENGTH], "int32");
const inputs = { text: input("text", text.shape, "int32") };

/** What the text encoder by itself makes of texts: for each a list of tokens, the CLS token first if any. */
function plainTokens(
  { options }: CLIP,
  values: Readonly<Record<string, Value>>,
  sequence = text,
): number[][][] {
  const transformer = new TextTransformer(new Scope().child("text_transformer"), {
    width: options.dimText,
    numTokens: options.numTextTokens + Number(options.useMlm),
    maxSeqLen: options.textSeqLen,
    rotaryPosEmb: options.textRotaryPosEmb,
    causal: options.textCausalMask,
    depth: options.textEncDepth,
    heads: options.textHeads,
    dimHead: options.textDimHead,
  });
  const mask = { ...text, dtype: "bool", data: text.data.map((id) => Number(id !== 0)) } as Value;
  const y = transformer.call(
    input("sequence", text.shape, "int32"),
    input("mask", text.shape, "bool"),
  );
  const { data } = evaluate(graph({ y }), { ...values, sequence, mask }).y!;
  const count = y.shape[1] as number;
  return rows.map((_, row) =>
    Array.from({ length: count }, (_, t) => [
      ...data.subarray((row * count + t) * WIDTH, (row * count + t + 1) * WIDTH),
    ]),
  );
}

/** Encoder's tokens as latents, by the matrix that all directions come from. */
function latentsOf(tokens: readonly number[][], values: Readonly<Record<string, Value>>): number[] {
  const matrix = values["to_text_latent.weight"]!.data;
  return tokens.flatMap((token) => {
    const row = [0, 1, 2, 3].map((l) =>
      token.reduce((sum, x, d) => sum + x * matrix[l * WIDTH + d]!, 0),
    );
    return row.map((x) => x / Math.hypot(...row));
  });
}

/** The token of the end, then the others in their order. */
const endFirst = (tokens: readonly number[][], row: number) => [
  tokens[ends[row]!]!,
  ...tokens.toSpliced(ends[row]!, 1),
];

for (const options of [{}, { textRotaryPosEmb: true }, { textEncDepth: 2 }] as ClipOptions[]) {
  describe(`causal text ${JSON.stringify(options)}`, () => {
    const clip = new CLIP({ ...causal, ...options });
    const values = { ...parametersOf(clip), text };
    const plain = plainTokens(clip, values);

    test("is encoded as its tokens, that of its end first", () => {
      const encoded = outputOf(clip.encodeText(inputs.text), values);
      assertClose(encoded, plain.flatMap(endFirst).flat(), 1e-9, "encoded");
    });

    test("has the latent of its first end token, or of its last place without one", () => {
      for (const wanted of [undefined, 1]) {
        const latents = clip.textLatents(clip.encodeText(inputs.text, wanted));
        assert.deepEqual(latents.shape, [rows.length, 4]);
        const expected = latentsOf(
          plain.map((tokens, row) => tokens[ends[row]!]!),
          values,
        );
        assertClose(outputOf(latents, values), expected, 1e-9, `latents, ${wanted} wanted`);
      }
    });

    test("is not changed by what stands behind its end", () => {
      const embedded = clip.embedText(inputs.text);
      const other = rows.flatMap((row, i) => row.map((id, t) => (t > ends[i]! ? 11 : id)));
      const changed = { ...values, text: { ...text, data: Float64Array.from(other) } };
      assert.deepEqual(outputOf(embedded, changed), outputOf(embedded, values));
    });
  });
}

describe("token by token", () => {
  const tokenwise = { useAllTokenEmbeds: true };

  test("causal text has latents and a mask of its words, without the end unless asked for", () => {
    for (const textHasClsToken of [true, false]) {
      for (const compat of [undefined, "x-clip"] as const) {
        const clip = new CLIP({ ...causal, ...tokenwise, textHasClsToken, compat });
        const values = { ...parametersOf(clip), text };
        const skipped = Number(textHasClsToken);
        const latents = clip.textLatents(clip.encodeText(inputs.text));
        const tokens = plainTokens(clip, values).map((row, i) => endFirst(row, i).slice(skipped));
        assert.deepEqual(latents.shape, [rows.length, LENGTH - skipped, 4]);
        assertClose(outputOf(latents, values), latentsOf(tokens.flat(), values), 1e-9, "latents");
        // x-clip leaves the mask in the order of the text.
        const moved = compat === undefined || textHasClsToken;
        const mask = rows.flatMap((row, i) => {
          const ids = row.map((id) => [id]);
          return (moved ? endFirst(ids, i).slice(skipped) : ids).map(([id]) => Number(id !== 0));
        });
        assert.deepEqual([...outputOf(clip.textMask(inputs.text)!, values)], mask);
      }
    }
  });

  test("without textHasClsToken the CLS token is one more word, which is always there", () => {
    const clip = new CLIP({ ...tiny, ...tokenwise, textHasClsToken: false });
    const values = { ...parametersOf(clip), text };
    const latents = clip.textLatents(clip.encodeText(inputs.text));
    const tokens = plainTokens(clip, values).flat();
    assert.equal(tokens.length, rows.length * (LENGTH + 1));
    assertClose(outputOf(latents, values), latentsOf(tokens, values), 1e-9, "latents");
    const mask = rows.flatMap((row) => [1, ...row.map((id) => Number(id !== 0))]);
    assert.deepEqual([...outputOf(clip.textMask(inputs.text)!, values)], mask);
  });

  test("a text is embedded as the direction of the mean of its words", () => {
    for (const options of [{}, { textCausalMask: true, textEosId: EOS }]) {
      const clip = new CLIP({ ...tiny, ...tokenwise, ...options });
      const values = { ...parametersOf(clip), text };
      const latents = outputOf(clip.textLatents(clip.encodeText(inputs.text)), values);
      const mask = outputOf(clip.textMask(inputs.text)!, values);
      const count = mask.length / rows.length;
      const expected = rows.flatMap((_, row) => {
        const own = [...mask.subarray(row * count, (row + 1) * count)];
        // A text of its end alone has no words: it is taken as its padding.
        const kept = own.some((m) => m === 1) ? own : own.map(() => 1);
        const sum = [0, 1, 2, 3].map((l) =>
          kept.reduce((sum, m, t) => sum + m * latents[(row * count + t) * 4 + l]!, 0),
        );
        return sum.map((x) => x / Math.hypot(...sum));
      });
      assertClose(outputOf(clip.embedText(inputs.text), values), expected, 1e-9, "embedded");
    }
  });
});

test("masked words are told from the words' own places, of texts with and without a CLS token", () => {
  const labels = [
    [0, 7, 0, 0, 0, 0],
    [EOS, 0, 0, 0, 0, 0],
    [0, 0, 6, 0, 0, 0],
    [4, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0],
  ];
  const asked = labels.map((row) => row.findIndex((id) => id !== 0));
  const masked = rows.map((row, i) => row.map((id, t) => (t === asked[i] ? 20 : id)));
  for (const options of [
    {},
    { textHasClsToken: false },
    { textCausalMask: true, textEosId: EOS },
    { textCausalMask: true, textEosId: EOS, textRotaryPosEmb: true },
  ] as ClipOptions[]) {
    const clip = new CLIP({ ...tiny, useMlm: true, ...options });
    const int32 = (list: number[][]) => numbers(list.flat(), text.shape, "int32");
    const values = {
      ...parametersOf(clip),
      text,
      image: floats([rows.length, 3, 8, 8]),
      "mlm.sequence": int32(masked),
      "mlm.labels": int32(labels),
    };
    const { image } = clip.inputs(rows.length);
    const { mlm } = clip.inputs(rows.length, { training: true });
    const { textSsl } = clip.losses({ ...inputs, image, mlm }).terms;

    const weight = values["mlm.to_logits.weight" as keyof typeof values] as Value;
    const bias = values["mlm.to_logits.bias" as keyof typeof values] as Value;
    const words = plainTokens(clip, values, values["mlm.sequence"]).map((tokens) =>
      tokens.slice(options.textCausalMask ? 0 : 1),
    );
    const losses = labels.flatMap((row, i) => {
      if (asked[i]! < 0) return [];
      const logits = Array.from(bias.data, (b, id) =>
        words[i]![asked[i]!]!.reduce((sum, x, d) => sum + x * weight.data[id * WIDTH + d]!, b),
      );
      const sum = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      return [Math.log(sum) - logits[row[asked[i]!]!]!];
    });
    const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
    assertClose(outputOf(textSsl!, values), [mean], 1e-9, JSON.stringify(options));
  }
});

test("texts of padding alone, and words none of which is asked for, keep losses finite", () => {
  const blank = { ...text, data: new Float64Array(text.data.length) };
  for (const options of [
    {},
    { textCausalMask: true, textEosId: EOS },
    { textCausalMask: true, textEosId: EOS, textRotaryPosEmb: true },
    { useAllTokenEmbeds: true },
    { useAllTokenEmbeds: true, simRegLossWeight: 1, extraLatentProjection: true },
    { useAllTokenEmbeds: true, textCausalMask: true, textEosId: EOS },
    { useAllTokenEmbeds: true, textCausalMask: true, textEosId: EOS, textHasClsToken: false },
    { hopfieldRetrieval: true },
    { sigmoidLoss: true, useAllTokenEmbeds: true },
  ] as ClipOptions[]) {
    for (const compat of [undefined, "x-clip"] as const) {
      const clip = new CLIP({ ...tiny, useMlm: true, ...options, compat });
      const all = clip.inputs(rows.length, { training: true });
      const { loss, terms } = clip.losses(all);
      const gradients = [...parameterGradients(loss, clip.parameters)].map(
        ([name, gradient]) => [`gradient of ${name}`, gradient] as const,
      );
      const results = evaluate(
        graph({
          loss,
          embedded: clip.embedText(all.text),
          ...terms,
          ...Object.fromEntries(gradients),
        }),
        {
          ...parametersOf(clip),
          text: blank,
          "mlm.sequence": blank,
          "mlm.labels": blank,
          image: floats([rows.length, 3, 8, 8]),
          patchIndices: numbers(
            rows.flatMap(() => [1, 2]),
            [rows.length, 2],
            "int32",
          ),
        },
      );
      for (const [name, { data }] of Object.entries(results)) {
        assert.ok(
          data.every(Number.isFinite),
          `${name} of ${JSON.stringify({ ...options, compat })}`,
        );
      }
      assert.equal(results.textSsl!.data[0], 0);
      for (const row of rows.keys()) {
        const length = Math.hypot(...results.embedded!.data.subarray(row * 4, row * 4 + 4));
        assertClose([length], [1], 1e-9, "length of an embedding");
      }
    }
  }
});
