import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  constant,
  evaluate,
  graph,
  input,
  type Shape,
  type Tensor,
  type Value,
  value,
} from "../graph/index.js";
import { assertClose, assertRuns, floats, numbers } from "../graph/testing.js";
import { Attention, type AttentionOptions } from "./attention.js";
import { FeedForward } from "./feed-forward.js";
import { LayerNorm } from "./layer-norm.js";
import { Scope } from "./parameters.js";
import { RotaryEmbedding, rotate } from "./rotary.js";
import { Transformer } from "./transformer.js";

/** Random parameters, other than those a model starts with: gains must not all be 1. */
function parametersOf(scope: Scope): Record<string, Value> {
  return Object.fromEntries(
    [...scope.parameters].map(([name, { shape }]) => [name, floats(shape, -1, 1, name)]),
  );
}

/** What a module gives, in double precision. */
function outputOf(y: Tensor, values: Readonly<Record<string, Value>>): Float64Array {
  return evaluate(graph({ y }), values).y!.data;
}

const BATCH = 2;
const LENGTH = 5;
const WIDTH = 6;
const HEADS = 2;
const DIM_HEAD = 4;

/** Attention written as loops over single numbers. */
function plainAttention(
  x: Value,
  parameters: Readonly<Record<string, Value>>,
  visible: (row: number, query: number, key: number) => boolean,
): number[] {
  const inner = HEADS * DIM_HEAD;
  const qkv = parameters["to_qkv.weight"]!.data;
  const out = parameters["to_out.0.weight"]!.data;
  const gain = parameters["to_out.1.g"]!.data;
  const result: number[] = [];
  for (let row = 0; row < BATCH; row++) {
    const at = (token: number, i: number) => x.data[(row * LENGTH + token) * WIDTH + i]!;
    /** `part` 0: query, 1: key, 2: value. */
    const projected = (part: number, head: number, token: number, i: number) => {
      let sum = 0;
      const line = part * inner + head * DIM_HEAD + i;
      for (let j = 0; j < WIDTH; j++) sum += qkv[line * WIDTH + j]! * at(token, j);
      return sum;
    };
    for (let query = 0; query < LENGTH; query++) {
      const joined: number[] = [];
      for (let head = 0; head < HEADS; head++) {
        const seen = [...Array(LENGTH).keys()].filter((key) => visible(row, query, key));
        // A query that may see nothing looks at everything evenly.
        const keys = seen.length > 0 ? seen : [...Array(LENGTH).keys()];
        const scores = keys.map((key) => {
          if (seen.length === 0) return 1;
          let score = 0;
          for (let i = 0; i < DIM_HEAD; i++) {
            score += projected(0, head, query, i) * projected(1, head, key, i);
          }
          return Math.exp(score / Math.sqrt(DIM_HEAD));
        });
        const whole = scores.reduce((a, b) => a + b);
        for (let i = 0; i < DIM_HEAD; i++) {
          const mixed = keys.map((key, k) => (scores[k]! / whole) * projected(2, head, key, i));
          joined.push(mixed.reduce((a, b) => a + b));
        }
      }
      const y = Array.from({ length: WIDTH }, (_, i) =>
        joined.reduce((sum, v, j) => sum + out[i * inner + j]! * v, 0),
      );
      const mean = y.reduce((a, b) => a + b) / WIDTH;
      const variance = y.reduce((sum, v) => sum + (v - mean) ** 2, 0) / WIDTH;
      result.push(...y.map((v, i) => (gain[i]! * (v - mean)) / Math.sqrt(variance + 1e-5)));
    }
  }
  return result;
}

describe("attention", () => {
  /** Row 0 sees some tokens; row 1 only the last, so that early causal queries see nothing. */
  const mask = numbers([1, 0, 1, 1, 0, 0, 0, 0, 0, 1], [BATCH, LENGTH], "bool");
  const nothing = value("bool", [BATCH, LENGTH]);
  const inMask = (m: Value) => (row: number, key: number) => m.data[row * LENGTH + key] === 1;

  for (const [what, options, given] of [
    ["without a mask", {}, undefined],
    ["with a mask", {}, mask],
    ["with nothing to see", {}, nothing],
    ["causal", { causal: true }, undefined],
    ["causal with a mask", { causal: true }, mask],
  ] as const satisfies readonly (readonly [string, AttentionOptions, Value | undefined])[]) {
    test(`${what} is the formula`, async () => {
      const scope = new Scope();
      const attention = new Attention(scope, WIDTH, {
        heads: HEADS,
        dimHead: DIM_HEAD,
        ...options,
      });
      const x = floats([BATCH, LENGTH, WIDTH], -2, 2);
      const y = attention.call(input("x", x.shape), {
        mask: given && input("mask", given.shape, "bool"),
      });
      const parameters = parametersOf(scope);
      const values = { ...parameters, x, ...(given && { mask: given }) };
      const expected = plainAttention(x, parameters, (row, query, key) => {
        const past = !("causal" in options) || key <= query;
        return past && (given === undefined || inMask(given)(row, key));
      });
      assertClose(outputOf(y, values), expected, 1e-9, "attention");
      await assertRuns(graph({ y }), values, 1e-5, "attention in float32");
    });
  }

  test("a mask of the wrong shape is refused, with a hint where CLS is left out", () => {
    const attention = new Attention(new Scope(), WIDTH, { heads: 1, dimHead: 4 });
    const call = (shape: Shape) =>
      attention.call(input("x", [2, 5, WIDTH]), { mask: input("mask", shape, "bool") });
    assert.throws(() => call([2, 4]), {
      message:
        "attention: the mask must be [B, T] = [2, 5], is [2, 4]; does it leave out the CLS token?",
    });
    assert.throws(() => call([3, 5]), { message: /must be \[B, T\] = \[2, 5\], is \[3, 5\]$/ });
    assert.throws(() => call([2, 1, 5]), { message: /must be \[B, T\]/ });
  });
});

test("a causal transformer's output does not depend on later tokens", () => {
  const scope = new Scope();
  const transformer = new Transformer(scope, WIDTH, {
    depth: 2,
    heads: HEADS,
    dimHead: DIM_HEAD,
    causal: true,
  });
  const y = transformer.call(input("x", [1, LENGTH, WIDTH]));
  const parameters = parametersOf(scope);
  const x = floats([1, LENGTH, WIDTH]);
  const before = outputOf(y, { ...parameters, x });
  for (let changed = 0; changed < LENGTH; changed++) {
    const data = x.data.slice();
    data[changed * WIDTH]! += 1;
    const after = outputOf(y, { ...parameters, x: { ...x, data } });
    for (let token = 0; token < LENGTH; token++) {
      const row = [token * WIDTH, (token + 1) * WIDTH] as const;
      if (token < changed) assert.deepEqual(after.subarray(...row), before.subarray(...row));
      else assert.notDeepEqual(after.subarray(...row), before.subarray(...row));
    }
  }
});

for (const causal of [false, true]) {
  test(`the first tokens alone are those of all${causal ? ", causal" : ""}`, () => {
    const scope = new Scope();
    const options = { depth: 2, heads: HEADS, dimHead: DIM_HEAD, causal };
    const transformer = new Transformer(scope, WIDTH, options);
    const x = floats([BATCH, LENGTH, WIDTH]);
    const values = {
      ...parametersOf(scope),
      x,
      mask: numbers([1, 0, 1, 1, 0, 1, 1, 0, 0, 1], [BATCH, LENGTH], "bool"),
      rotary: floats([LENGTH, DIM_HEAD], -3, 3, "angles"),
    };
    const result = (wanted?: number) =>
      transformer.call(input("x", x.shape), {
        mask: input("mask", [BATCH, LENGTH], "bool"),
        rotary: input("rotary", [LENGTH, DIM_HEAD]),
        wanted,
      });
    const all = outputOf(result(), values);
    for (const wanted of [1, 3]) {
      assert.deepEqual(result(wanted).shape, [BATCH, wanted, WIDTH]);
      const expected = [0, 1].flatMap((row) => [
        ...all.subarray(row * LENGTH * WIDTH, (row * LENGTH + wanted) * WIDTH),
      ]);
      assertClose(outputOf(result(wanted), values), expected, 1e-9, `${wanted} wanted`);
    }
  });
}

test("rotary angles are positions times frequencies", () => {
  const scope = new Scope();
  const angles = new RotaryEmbedding(scope, 4).call(3);
  const { initializer, trainable } = scope.parameters.get("inv_freq")!;
  assert.ok(initializer.kind === "values" && !trainable);
  assertClose(initializer.values, [1, 1 / 100], 1e-7, "frequencies");
  const values = { inv_freq: numbers([1, 0.01]) };
  const expected = [0, 1, 2].flatMap((p) => [p, p / 100, p, p / 100]);
  assertClose(outputOf(angles, values), expected, 1e-12, "angles");
  assert.throws(() => new RotaryEmbedding(new Scope(), 3), /must be even, is 3/);
});

test("rotation keeps lengths, turns pairs, and leaves the features past the angles", () => {
  const angles = floats([3, 4], -3, 3, "angles");
  // Both features of a pair are turned by the same angle.
  for (let t = 0; t < 3; t++) {
    for (let i = 0; i < 2; i++) angles.data[t * 4 + 2 + i] = angles.data[t * 4 + i]!;
  }
  const x = floats([2, 3, 6]);
  const turned = rotate(input("x", x.shape), input("angles", angles.shape));
  const y = outputOf(turned, { x, angles });
  for (let row = 0; row < 6; row++) {
    const at = (i: number) => x.data[row * 6 + i]!;
    const expected = [0, 1, 2, 3, 4, 5].map((i) => {
      if (i >= 4) return at(i);
      const angle = angles.data[(row % 3) * 4 + (i % 2)]!;
      const other = i < 2 ? -at(i + 2) : at(i - 2);
      return at(i) * Math.cos(angle) + other * Math.sin(angle);
    });
    assertClose(y.subarray(row * 6, row * 6 + 6), expected, 1e-12, `row ${row}`);
  }
});

test("rotated scores depend on the distance of positions alone", () => {
  const scope = new Scope();
  const angles = new RotaryEmbedding(scope, 4).call(6);
  // The same two vectors at every position.
  const repeat = (vector: number[]) =>
    constant(
      Array.from({ length: 24 }, (_, i) => vector[i % 4]!),
      [6, 4],
    );
  const values = { inv_freq: numbers([1, 0.01]) };
  const queries = outputOf(rotate(repeat([1, 2, -1, 0.5]), angles), values);
  const keys = outputOf(rotate(repeat([0.3, -1, 2, 1]), angles), values);
  const score = (q: number, k: number) =>
    [0, 1, 2, 3].reduce((sum, i) => sum + queries[q * 4 + i]! * keys[k * 4 + i]!, 0);
  assertClose([score(3, 1), score(5, 3)], [score(2, 0), score(2, 0)], 1e-12, "two apart");
  assert.ok(Math.abs(score(2, 0) - score(0, 2)) > 0.1);
});

test("feed-forward is linear, GEGLU, norm, linear", async () => {
  const scope = new Scope();
  const module = new FeedForward(scope, 3, 2);
  const y = module.call(input("x", [1, 2, 3]));
  const parameters = parametersOf(scope);
  assert.deepEqual(
    [...scope.parameters].map(([name, { shape }]) => [name, shape]),
    [
      ["net.0.weight", [12, 3]],
      ["net.2.g", [6]],
      ["net.4.weight", [3, 6]],
    ],
  );
  const values = { ...parameters, x: floats([1, 2, 3], -2, 2) };
  await assertRuns(graph({ y }), values, 1e-5, "feed-forward");
  // The gate is the second half: without it nothing passes, and the norm of nothing is nothing.
  const closed = parameters["net.0.weight"]!.data.map((w, i) => (i < 18 ? w : 0));
  const shut = { ...values, "net.0.weight": { ...parameters["net.0.weight"]!, data: closed } };
  assert.ok(outputOf(y, shut).every((v) => v === 0));
});

test("layer normalisation adds 1e-5 to the variance, in float64 too", () => {
  const x = numbers([0.01, -0.01, 0.01, -0.01], [1, 4]);
  const y = new LayerNorm(new Scope(), 4).call(input("x", [1, 4]));
  const expected = 0.01 / Math.sqrt(1e-4 + 1e-5);
  const found = outputOf(y, { x, g: numbers([1, 1, 1, 1]) });
  assertClose(found, [expected, -expected, expected, -expected], 1e-12, "epsilon");
});

test("layer normalisation gives mean 0 and variance 1 times the gain", () => {
  const scope = new Scope();
  const y = new LayerNorm(scope, 8).call(input("x", [3, 8]));
  const x = floats([3, 8], -50, 80);
  const normal = outputOf(y, { x, g: value("float32", [8], () => 1) });
  for (let row = 0; row < 3; row++) {
    const values = normal.subarray(row * 8, row * 8 + 8);
    assertClose([values.reduce((a, b) => a + b)], [0], 1e-9, "mean");
    assertClose([values.reduce((a, b) => a + b * b, 0) / 8], [1], 1e-6, "variance");
  }
  const tripled = outputOf(y, { x, g: value("float32", [8], () => 3) });
  assertClose(
    tripled,
    normal.map((v) => 3 * v),
    1e-12,
    "gain",
  );
  // A row of equal numbers has no variance to divide by.
  const flat = outputOf(y, { x: value("float32", [3, 8], () => 4), g: floats([8]) });
  assert.ok(flat.every((v) => v === 0));
});
