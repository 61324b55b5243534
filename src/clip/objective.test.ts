import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { evaluate, grad, graph, input, l2norm, type Value } from "../graph/index.js";
import {
  assertClose,
  assertGradients,
  assertRuns,
  floats,
  numbers,
  runOnce,
} from "../graph/testing.js";
import { objective, type Views } from "./objective.js";
import { type ClipOptions, clipOptionsSchema } from "./options.js";
import { sigmoidLoss } from "./sigmoid.js";
import { globalSimilarities } from "./similarity.js";
import { similarityRegularisation } from "./similarity-regularisation.js";

const BATCH = 4;
const WIDTH = 3;

function unit(shape: readonly number[], key: string): Value {
  const rows = floats(shape, -1, 1, key);
  return evaluate(graph({ y: l2norm(input("x", rows.shape)) }), { x: rows }).y!;
}

const text = unit([BATCH, WIDTH], "text");
const image = unit([BATCH, WIDTH], "image");
const rows = [...Array(BATCH).keys()];

function cosine(a: Value, i: number, b: Value, j: number): number {
  return [0, 1, 2].reduce((sum, k) => sum + a.data[i * WIDTH + k]! * b.data[j * WIDTH + k]!, 0);
}

describe("the sigmoid loss", () => {
  const excluded = numbers(
    [0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0],
    [BATCH, BATCH],
    "bool",
  );
  for (const excludes of [false, true]) {
    test(`is SigLIP's formula${excludes ? " with excluded pairs" : ""}, with gradients`, async () => {
      const values = { text, image, scale: numbers([4], []), bias: numbers([-2], []), excluded };
      let expected = 0;
      for (const t of rows) {
        for (const i of rows) {
          if (excludes && excluded.data[t * BATCH + i] === 1) continue;
          const sign = t === i ? 1 : -1;
          expected += Math.log(1 + Math.exp(-sign * (4 * cosine(text, t, image, i) - 2))) / BATCH;
        }
      }
      const build = (x: Record<string, ReturnType<typeof input>>) =>
        sigmoidLoss(
          globalSimilarities({ text: x.text!, image: x.image! }, x.scale!),
          x.bias!,
          excludes ? x.excluded : undefined,
        );
      const inputs = Object.fromEntries(
        Object.entries(values).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
      );
      const g = graph({ loss: build(inputs) });
      assertClose(evaluate(g, values).loss!.data, [expected], 1e-9, "loss");
      await assertRuns(g, values, 1e-5, "sigmoid loss");
      assertGradients(build, values);
    });
  }

  test("started at -log(B - 1), the matching pair weighs as much as all others together", () => {
    // With cosines of zero each pair's gradient is the probability that it is told wrongly.
    const batch = 64;
    const zero = numbers(Array(batch * batch).fill(0), [batch, batch]);
    const similarities = input("similarities", [batch, batch]);
    const loss = sigmoidLoss(
      { textToImage: similarities, imageToText: similarities },
      input("bias", []),
    );
    const [gradient] = grad(loss, [similarities]);
    const { g } = evaluate(graph({ g: gradient! }), {
      similarities: zero,
      bias: numbers([-Math.log(batch - 1)], []),
    });
    const row = [...g!.data.subarray(0, batch)];
    const others = row.slice(1).reduce((a, b) => a + b, 0);
    assertClose([others], [-row[0]!], 1e-9, "weight");
  });
});

test("similarity regularisation is its formula, with gradients", async () => {
  const values = {
    text,
    image,
    textExtra: unit([BATCH, WIDTH], "textExtra"),
    imageExtra: unit([BATCH, WIDTH], "imageExtra"),
  };
  const term = (text: Value, image: Value) => {
    const squares = rows.flatMap((i) =>
      rows
        .filter((j) => j !== i)
        .map((j) => (cosine(text, i, text, j) - cosine(image, i, image, j)) ** 2),
    );
    return squares.reduce((a, b) => a + b, 0) / squares.length;
  };
  const plain = term(text, image);
  for (const extra of [false, true]) {
    const expected = extra ? (plain + term(values.textExtra, values.imageExtra)) / 2 : plain;
    const build = (x: Record<string, ReturnType<typeof input>>) =>
      similarityRegularisation({
        text: x.text!,
        image: x.image!,
        ...(extra && { textExtra: x.textExtra!, imageExtra: x.imageExtra! }),
      });
    const inputs = Object.fromEntries(
      Object.entries(values).map(([name, { shape }]) => [name, input(name, shape)]),
    );
    const g = graph({ loss: build(inputs) });
    assertClose(evaluate(g, values).loss!.data, [expected], 1e-9, "loss");
    await assertRuns(g, values, 1e-5, "similarity regularisation");
    assertGradients(build, values);
  }
});

describe("every objective", () => {
  const TOKENS = 3;
  const PATCHES = 2;
  const objectives: Record<string, ClipOptions> = {
    InfoNCE: {},
    DCL: { decoupledContrastiveLearning: true },
    CLOOB: { extraLatentProjection: true, hopfieldRetrieval: true },
    SigLIP: { sigmoidLoss: true },
    FILIP: { useAllTokenEmbeds: true },
    "FILIP with DCL and extra projections": {
      useAllTokenEmbeds: true,
      decoupledContrastiveLearning: true,
      extraLatentProjection: true,
    },
  };
  for (const [name, chosen] of Object.entries(objectives)) {
    const options = clipOptionsSchema.parse({ ...chosen, simRegLossWeight: 0.1 });
    const tokenwise = options.useAllTokenEmbeds;
    const shapes = {
      text: tokenwise ? [BATCH, TOKENS, WIDTH] : [BATCH, WIDTH],
      image: tokenwise ? [BATCH, PATCHES, WIDTH] : [BATCH, WIDTH],
    };
    const views = (texts: number, images: number): Views => ({
      texts: Array.from({ length: texts }, (_, i) => ({
        text: input(`text.${i}`, shapes.text),
        ...(options.extraLatentProjection && { textExtra: input(`textExtra.${i}`, shapes.text) }),
        ...(tokenwise && { textMask: input(`mask.${i}`, [BATCH, TOKENS], "bool") }),
      })),
      images: Array.from({ length: images }, (_, i) => ({
        image: input(`image.${i}`, shapes.image),
        ...(options.extraLatentProjection && {
          imageExtra: input(`imageExtra.${i}`, shapes.image),
        }),
      })),
    });
    const scalars = {
      scale: input("scale", []),
      bias: options.sigmoidLoss ? input("bias", []) : undefined,
    };
    const termsOf = (texts: number, images: number) =>
      objective(options, views(texts, images), scalars);
    const valuesOf = (terms: ReturnType<typeof termsOf>, scale: number, fill?: number) => {
      const g = graph({ ...terms });
      return Object.fromEntries(
        [...g.inputs].map(([name, { shape, dtype }]) => {
          const fixed = shape as readonly number[];
          const count = fixed.reduce((a, b) => a * b, 1);
          if (name === "scale") return [name, numbers([scale], [])];
          if (name === "bias") return [name, numbers([-1], [])];
          if (dtype === "bool") return [name, numbers(Array(count).fill(1), fixed, "bool")];
          if (fill === undefined) return [name, unit(fixed, name)];
          const e = Array.from({ length: count }, (_, i) => (i % WIDTH === 0 ? fill : 0));
          return [name, numbers(e, fixed)];
        }),
      );
    };

    test(`${name}: more views are the mean over all their pairs but the first`, () => {
      const terms = termsOf(2, 3);
      const values = valuesOf(terms, 3);
      const found = evaluate(graph({ ...terms }), values);
      const pairs: number[] = [];
      for (const t of [0, 1]) {
        for (const i of [0, 1, 2]) {
          const single = graph({ loss: termsOf(1, 1).contrastive });
          const renamed = Object.fromEntries(
            [...single.inputs.keys()].map((key) => {
              const at = key.startsWith("text") || key.startsWith("mask") ? t : i;
              return [key, values[key.replace(/\.0$/, `.${at}`)]!];
            }),
          );
          pairs.push(evaluate(single, renamed).loss!.data[0]!);
        }
      }
      assertClose(found.contrastive!.data, [pairs[0]!], 1e-9, "contrastive");
      const rest = pairs.slice(1).reduce((a, b) => a + b, 0) / 5;
      assertClose(found.multiview!.data, [rest], 1e-9, "multiview");
    });

    test(`${name}: finite at a logit scale of 100 and extreme similarities`, async () => {
      const terms = termsOf(2, 1);
      for (const fill of [undefined, 1, -1]) {
        const values = valuesOf(terms, 100, fill);
        const inputs = [...graph({ ...terms }).inputs.values()].filter(
          ({ dtype }) => dtype === "float32",
        );
        const outputs: Record<string, ReturnType<typeof input>> = { ...terms };
        for (const [term, loss] of Object.entries(terms)) {
          for (const [i, gradient] of grad(loss, inputs).entries()) {
            if (gradient) outputs[`${term} gradient ${i}`] = gradient;
          }
        }
        const found = await runOnce(graph(outputs), values);
        for (const [output, data] of Object.entries(found)) {
          assert.ok(
            Array.from(data, Number).every(Number.isFinite),
            `${output}, all cosines ${fill ?? "mixed"}: ${data}`,
          );
        }
      }
    });
  }
});
