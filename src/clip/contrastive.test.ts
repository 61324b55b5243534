import assert from "node:assert/strict";
import { test } from "node:test";
import {
  constant,
  evaluate,
  grad,
  graph,
  input,
  l2norm,
  type Tensor,
  type Value,
} from "../graph/index.js";
import {
  assertClose,
  assertGradients,
  assertRuns,
  floats,
  numbers,
  runOnce,
} from "../graph/testing.js";
import { type ContrastiveOptions, contrastiveLoss } from "./contrastive.js";
import { globalSimilarities } from "./similarity.js";

interface Inputs extends ContrastiveOptions {
  readonly text: Tensor;
  readonly image: Tensor;
  readonly scale: Tensor;
}

function lossOf({ text, image, scale, ...options }: Inputs): Tensor {
  return contrastiveLoss(globalSimilarities({ text, image }, scale), options);
}

interface Pairs {
  /** [B, B] (text, image): cosine similarities. */
  readonly cosines: readonly (readonly number[])[];
  readonly scale: number;
  readonly excluded?: (text: number, image: number) => boolean;
  readonly decoupled?: boolean;
}

/** InfoNCE written out, without any care for overflow. */
function plainLoss({ cosines, scale, excluded = () => false, decoupled = false }: Pairs): number {
  const batch = cosines.length;
  const all = [...cosines.keys()];
  const negative = (text: number, image: number) => text !== image && !excluded(text, image);
  let sum = 0;
  for (const i of all) {
    const own = scale * cosines[i]![i]!;
    const candidates = (scores: number[]) =>
      Math.log(
        scores.reduce((total, score) => total + Math.exp(score), decoupled ? 0 : Math.exp(own)),
      );
    const images = all.filter((j) => negative(i, j)).map((j) => scale * cosines[i]![j]!);
    const texts = all.filter((j) => negative(j, i)).map((j) => scale * cosines[j]![i]!);
    sum += (candidates(images) + candidates(texts)) / 2 - own;
  }
  return sum / batch;
}

const BATCH = 4;
const WIDTH = 3;

function unit(rows: Value): Value {
  const x = input("x", rows.shape);
  return evaluate(graph({ y: l2norm(x) }), { x: rows }).y!;
}

function build(options: { decoupled?: boolean; excluded?: boolean; batch?: number }) {
  const { decoupled = false, excluded = false, batch = BATCH } = options;
  return lossOf({
    text: input("text", [batch, WIDTH]),
    image: input("image", [batch, WIDTH]),
    scale: input("scale", []),
    ...(excluded && { excluded: input("excluded", [batch, batch], "bool") }),
    decoupled,
  });
}

const text = unit(floats([BATCH, WIDTH], -1, 1, "text"));
const image = unit(floats([BATCH, WIDTH], -1, 1, "image"));
const cosines = Array.from({ length: BATCH }, (_, t) =>
  Array.from({ length: BATCH }, (_, i) =>
    [0, 1, 2].reduce((sum, k) => sum + text.data[t * WIDTH + k]! * image.data[i * WIDTH + k]!, 0),
  ),
);
/** Not symmetric: text 0 is no negative of image 1, but text 1 is one of image 0. */
const excluded = numbers([0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0], [BATCH, BATCH], "bool");
const isExcluded = (t: number, i: number) => excluded.data[t * BATCH + i] === 1;

for (const decoupled of [false, true]) {
  for (const excludes of [false, true]) {
    const what = `${decoupled ? "DCL" : "InfoNCE"}${excludes ? " with excluded pairs" : ""}`;
    test(`${what} is its formula, with gradients`, async () => {
      const loss = build({ decoupled, excluded: excludes });
      const values = { text, image, scale: numbers([2.5], []), excluded };
      const expected = plainLoss({
        cosines,
        scale: 2.5,
        decoupled,
        ...(excludes && { excluded: isExcluded }),
      });
      assertClose(evaluate(graph({ loss }), values).loss!.data, [expected], 1e-9, what);
      await assertRuns(graph({ loss }), values, 1e-5, what);
      assertGradients(
        (x) =>
          lossOf({
            text: x.text!,
            image: x.image!,
            scale: x.scale!,
            decoupled,
            ...(excludes && { excluded: x.excluded }),
          }),
        values,
      );
    });
  }
}

test("with every other pair excluded there is nothing to tell apart, and nothing to learn", () => {
  const inputs = {
    text: input("text", [2, WIDTH]),
    image: input("image", [2, WIDTH]),
    scale: input("scale", []),
    excluded: input("excluded", [2, 2], "bool"),
  };
  const loss = lossOf(inputs);
  const [byText, byScale] = grad(loss, [inputs.text, inputs.scale]);
  const results = evaluate(graph({ loss, byText: byText!, byScale: byScale! }), {
    text: unit(floats([2, WIDTH])),
    image: unit(floats([2, WIDTH], -1, 1, "image")),
    scale: numbers([3], []),
    excluded: numbers([0, 1, 1, 0], [2, 2], "bool"),
  });
  for (const [name, { data }] of Object.entries(results)) {
    assertClose(data, new Float64Array(data.length), 1e-9, name);
  }
});

for (const decoupled of [false, true]) {
  test(`extreme similarities give finite losses and gradients${decoupled ? ", by DCL too" : ""}`, async () => {
    const inputs = {
      text: input("text", [3, WIDTH]),
      image: input("image", [3, WIDTH]),
      scale: input("scale", []),
    };
    const loss = lossOf({ ...inputs, decoupled });
    const gradients = grad(loss, Object.values(inputs));
    const g = graph({
      loss,
      ...Object.fromEntries(gradients.map((gradient, i) => [`gradient${i}`, gradient!])),
    });
    const e = (...signs: number[]) =>
      numbers(
        signs.flatMap((s) => [s, 0, 0]),
        [3, WIDTH],
      );
    for (const [name, pictures] of [
      ["equal", e(1, 1, 1)],
      ["opposite", e(-1, -1, -1)],
      ["mixed", e(1, -1, -1)],
    ] as const) {
      for (const scale of [1, 100, 500]) {
        const values = { text: e(1, 1, -1), image: pictures, scale: numbers([scale], []) };
        const results = await runOnce(g, values);
        for (const [output, data] of Object.entries(results)) {
          assert.ok(data.every(Number.isFinite), `${name}, scale ${scale}: ${output} is ${data}`);
        }
        await assertRuns(g, values, 1e-4, `${name}, scale ${scale}`);
      }
    }
  });
}

test("floored, it is x-clip's log(x + 1e-20), without its overflow", async () => {
  const floored = (x: number) => Math.log(Math.exp(x) + 1e-20);
  const lossAt = (own: number, other: number) => {
    const similarities = constant([own, other, other, own], [2, 2]);
    const compared = { textToImage: similarities, imageToText: similarities };
    const value = (options: ContrastiveOptions) =>
      evaluate(graph({ y: contrastiveLoss(compared, options) }), {}).y!.data[0]!;
    return [value({ floored: true }), value({ floored: true, decoupled: true })] as const;
  };
  for (const [own, other] of [
    [3, 1],
    [-60, 2],
    [-75, -70],
    [4, -60],
  ] as const) {
    const [plain, decoupled] = lossAt(own, other);
    const sum = Math.log(Math.exp(own) + Math.exp(other) + 1e-20);
    assertClose([plain], [sum - floored(own)], 1e-6, `InfoNCE of ${own}, ${other}`);
    assertClose([decoupled], [floored(other) - floored(own)], 1e-6, `DCL of ${own}, ${other}`);
  }
  // exp(800) is more than any number.
  assertClose(lossAt(-1, 800), [801, 801], 1e-9, "large");
  const alone = constant([-0.02], [1, 1]);
  const single = contrastiveLoss(
    { textToImage: alone, imageToText: alone },
    { floored: true, decoupled: true },
  );
  assertClose(evaluate(graph({ single }), {}).single!.data, [-46.0317], 1e-4, "DCL of one pair");
});

test("batches that do not match, or have no fixed size, are refused", () => {
  const scale = input("scale", []);
  const call = (texts: number | string, images: number | string) =>
    lossOf({ text: input("t", [texts, 3]), image: input("i", [images, 3]), scale });
  assert.throws(() => call(2, 3), /as many texts as images.*similarities are \[2, 3\]/);
  assert.throws(() => call("batch", "batch"), /a fixed number/);
});

test("a pair with nothing to tell it from counts as zero, with finite gradients", () => {
  const alone = build({ decoupled: true, batch: 1 });
  const row = numbers([1, 0, 0], [1, 3]);
  const values = { text: row, image: row, scale: numbers([14], []) };
  const wrt = ["text", "image"].map((name) => graph({ alone }).inputs.get(name)!);
  const [dText, dImage] = grad(alone, wrt);
  const results = evaluate(graph({ alone, dText: dText!, dImage: dImage! }), values);
  assert.equal(results.alone!.data[0], 0);
  assert.ok([...results.dText!.data, ...results.dImage!.data].every((x) => x === 0));
});
