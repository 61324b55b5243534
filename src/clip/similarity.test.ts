import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, graph, input, l2norm, type Value } from "../graph/index.js";
import { assertClose, assertGradients, assertRuns, floats, numbers } from "../graph/testing.js";
import { retrievedSimilarities } from "./hopfield.js";
import { globalSimilarities, tokenwiseSimilarities } from "./similarity.js";

const BATCH = 3;
const TOKENS = 4;
const PATCHES = 2;
const WIDTH = 3;

function unit(shape: readonly number[], key: string): Value {
  const rows = floats(shape, -1, 1, key);
  return evaluate(graph({ y: l2norm(input("x", rows.shape)) }), { x: rows }).y!;
}

/** Row i of the last axis. */
function rowOf({ data, shape }: Value, i: number): Float64Array {
  const width = shape.at(-1)!;
  return data.subarray(i * width, (i + 1) * width);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);
}

const tokens = {
  text: unit([BATCH, TOKENS, WIDTH], "text"),
  image: unit([BATCH, PATCHES, WIDTH], "image"),
  textExtra: unit([BATCH, TOKENS, WIDTH], "textExtra"),
  imageExtra: unit([BATCH, PATCHES, WIDTH], "imageExtra"),
  scale: numbers([2.5], []),
};
/** The second text has words around a gap; the last has one. */
const mask = numbers([1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0], [BATCH, TOKENS], "bool");

/** FILIP's similarities written out. */
function plainTokenwise(text: Value, image: Value, kept: Value, direction: "t2i" | "i2t") {
  const similarity = (t: number, w: number, i: number, p: number) =>
    2.5 * dot(rowOf(text, t * TOKENS + w), rowOf(image, i * PATCHES + p));
  const words = (t: number) => [0, 1, 2, 3].filter((w) => kept.data[t * TOKENS + w] !== 0);
  const patches = [0, 1];
  const average = (values: number[]) =>
    values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;
  const result: number[] = [];
  for (let row = 0; row < BATCH; row++) {
    for (let column = 0; column < BATCH; column++) {
      const [t, i] = direction === "t2i" ? [row, column] : [column, row];
      if (words(t).length === 0) {
        result.push(0);
        continue;
      }
      result.push(
        direction === "t2i"
          ? average(words(t).map((w) => Math.max(...patches.map((p) => similarity(t, w, i, p)))))
          : average(patches.map((p) => Math.max(...words(t).map((w) => similarity(t, w, i, p))))),
      );
    }
  }
  return result;
}

function build(extra: boolean, compat = false) {
  const { text, image, textExtra, imageExtra } = Object.fromEntries(
    Object.entries(tokens).map(([name, { shape }]) => [name, input(name, shape)]),
  ) as Record<keyof typeof tokens, ReturnType<typeof input>>;
  const textMask = input("textMask", [BATCH, TOKENS], "bool");
  return tokenwiseSimilarities(
    { text, image, textMask, ...(extra && { textExtra, imageExtra }) },
    input("scale", []),
    compat,
  );
}

for (const extra of [false, true]) {
  test(`token by token is FILIP's formula${extra ? ", with extra projections" : ""}`, async () => {
    const { textToImage, imageToText } = build(extra);
    const values = { ...tokens, textMask: mask };
    const g = graph({ textToImage, imageToText });
    const found = evaluate(g, values);
    const backward = extra ? [tokens.textExtra, tokens.imageExtra] : [tokens.text, tokens.image];
    assertClose(
      found.textToImage!.data,
      plainTokenwise(tokens.text, tokens.image, mask, "t2i"),
      1e-9,
      "text to image",
    );
    assertClose(
      found.imageToText!.data,
      plainTokenwise(backward[0]!, backward[1]!, mask, "i2t"),
      1e-9,
      "image to text",
    );
    await assertRuns(g, values, 1e-5, "token by token");
    assertGradients((x) => {
      const sums = tokenwiseSimilarities(
        {
          text: x.text!,
          image: x.image!,
          textMask: input("textMask", [BATCH, TOKENS], "bool"),
          ...(extra && { textExtra: x.textExtra!, imageExtra: x.imageExtra! }),
        },
        x.scale!,
      );
      return sums.imageToText;
    }, values);
  });
}

test("a text without tokens is similar to nothing, and teaches nothing", async () => {
  const none = numbers([1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0], [BATCH, TOKENS], "bool");
  const g = graph({ ...build(false) });
  const found = evaluate(g, { ...tokens, textMask: none });
  for (const [name, direction] of [
    ["textToImage", "t2i"],
    ["imageToText", "i2t"],
  ] as const) {
    const expected = plainTokenwise(tokens.text, tokens.image, none, direction);
    assertClose(found[name]!.data, expected, 1e-9, name);
  }
  await assertRuns(g, { ...tokens, textMask: none }, 1e-5, "a text without tokens");
});

test("as x-clip, image to text is not transposed", () => {
  const ours = evaluate(graph({ ...build(false) }), { ...tokens, textMask: mask }).imageToText!;
  const theirs = evaluate(graph({ ...build(false, true) }), { ...tokens, textMask: mask });
  const transposed = Array.from(
    { length: BATCH ** 2 },
    (_, i) => ours.data[(i % BATCH) * BATCH + Math.floor(i / BATCH)]!,
  );
  assertClose(theirs.imageToText!.data, transposed, 1e-12, "image to text");
});

test("retrieved similarities are CLOOB's formula, with gradients", async () => {
  const values = {
    text: unit([BATCH, WIDTH], "t"),
    image: unit([BATCH, WIDTH], "i"),
    scale: numbers([3], []),
  };
  const sharpness = 5;
  const softmax = (scores: number[]) => {
    const weights = scores.map(Math.exp);
    return weights.map((w) => w / weights.reduce((a, b) => a + b, 0));
  };
  const rows = [0, 1, 2];
  const retrieve = (memory: Value, query: Float64Array) => {
    const weights = softmax(rows.map((j) => sharpness * dot(rowOf(memory, j), query)));
    const sum = rows.map((k) =>
      dot(
        weights,
        rows.map((j) => rowOf(memory, j)[k]!),
      ),
    );
    const length = Math.hypot(...sum);
    return sum.map((x) => x / length);
  };
  const choices = (memory: Value, choosing: Value, candidates: Value) =>
    rows.flatMap((i) =>
      rows.map(
        (j) =>
          3 * dot(retrieve(memory, rowOf(choosing, i)), retrieve(memory, rowOf(candidates, j))),
      ),
    );
  const tensors = { text: input("text", [BATCH, WIDTH]), image: input("image", [BATCH, WIDTH]) };
  const g = graph({ ...retrievedSimilarities(tensors, input("scale", []), sharpness) });
  const found = evaluate(g, values);
  const { text, image } = values;
  assertClose(found.textToImage!.data, choices(text, text, image), 1e-9, "text to image");
  assertClose(found.imageToText!.data, choices(image, image, text), 1e-9, "image to text");
  await assertRuns(g, values, 1e-5, "retrieved");
  assertGradients(
    (x) =>
      retrievedSimilarities({ text: x.text!, image: x.image! }, x.scale!, sharpness).imageToText,
    values,
  );
});

test("extra projections serve the direction from image to text alone", () => {
  const shape = [BATCH, WIDTH];
  const names = ["text", "image", "textExtra", "imageExtra"];
  const values = Object.fromEntries(names.map((name) => [name, unit(shape, name)]));
  const latents = Object.fromEntries(names.map((name) => [name, input(name, shape)]));
  const { text, image } = latents;
  const scale = input("scale", []);
  const found = evaluate(
    graph({ ...globalSimilarities({ text: text!, image: image!, ...latents }, scale) }),
    { ...values, scale: numbers([2], []) },
  );
  for (const row of [0, 1, 2]) {
    for (const column of [0, 1, 2]) {
      const at = row * BATCH + column;
      assertClose(
        [found.textToImage!.data[at]!, found.imageToText!.data[at]!],
        [
          2 * dot(rowOf(values.text!, row), rowOf(values.image!, column)),
          2 * dot(rowOf(values.imageExtra!, row), rowOf(values.textExtra!, column)),
        ],
        1e-9,
        `(${row}, ${column})`,
      );
    }
  }
  assert.equal(found.textToImage!.data.length, BATCH ** 2);
});
