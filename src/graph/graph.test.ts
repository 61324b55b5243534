import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  constant,
  dump,
  evaluate,
  graph,
  input,
  layerNorm,
  matmul,
  mul,
  relu,
  reshape,
  type Tensor,
  value,
} from "./index.js";
import { numbers, runOnce } from "./testing.js";

test("only inputs that an output depends on belong to a graph", () => {
  const [a, b] = [input("a", [2]), input("b", [2])];
  assert.deepEqual([...graph({ y: mul(a, 2) }).inputs.keys()], ["a"]);
  assert.deepEqual([...graph({ y: mul(a, 2), z: b }).inputs.keys()], ["a", "b"]);
});

test("names must be unambiguous", () => {
  const a = input("a", [2]);
  assert.throws(() => graph({ y: add(a, input("a", [2])) }), {
    message: 'graph: two different inputs are named "a": float32[2] and float32[2]',
  });
  assert.throws(() => graph({ a: mul(a, 2) }), {
    message: 'graph: "a" names both an input and an output',
  });
});

test("nodes stand after those they read, each once", () => {
  const a = input("a", []);
  const b = relu(a);
  const c = mul(b, b);
  const d = add(c, b);
  const { nodes } = graph({ d, c });
  const position = (tensor: Tensor) => nodes.findIndex((node) => node.outputs.includes(tensor));
  assert.deepEqual([b, c, d].map(position), [0, 1, 2]);
  assert.equal(nodes.length, 3);
});

test("a node whose output has another type than its operator infers is refused", () => {
  const tampered = relu(input("a", [2, 3]));
  Object.assign(tampered, { shape: [3, 2] });
  assert.throws(() => graph({ y: mul(tampered, 2) }), {
    message: "graph: Relu does not have the types it infers",
  });
  const retyped = relu(input("a", [2, 3]));
  Object.assign(retyped, { dtype: "int32" });
  assert.throws(() => graph({ y: retyped }), /graph: Relu does not have the types it infers/);
});

test("outputs may be inputs, constants, or one tensor under several names", async () => {
  const a = input("a", [2]);
  const doubled = mul(a, 2);
  const g = graph({ same: a, fixed: constant([7, 8]), first: doubled, second: doubled });
  const values = { a: numbers([1, 2]) };
  const expected = { same: [1, 2], fixed: [7, 8], first: [2, 4], second: [2, 4] };
  const run = Object.entries(await runOnce(g, values)).map(([name, data]) => [name, [...data]]);
  assert.deepEqual(Object.fromEntries(run), expected);
  const slow = Object.entries(evaluate(g, values)).map(([name, { data }]) => [name, [...data]]);
  assert.deepEqual(Object.fromEntries(slow), expected);
});

test("inputs and outputs may have the names that the emitter would give", async () => {
  const taken = ["value_1", "value_2", "value_3", "constant_0", "constant_1"];
  const inputs = taken.map((name) => input(name, []));
  const sum = inputs.reduce((total, x) => add(mul(total, 2), x), constant(0.5));
  const g = graph({ value_4: sum, constant_2: mul(sum, 3) });
  const values = Object.fromEntries(taken.map((name, i) => [name, numbers([i], [])]));
  const expected = evaluate(g, values);
  const actual = await runOnce(g, values);
  assert.deepEqual([...actual.value_4!], [...expected.value_4!.data]);
  assert.deepEqual([...actual.constant_2!], [...expected.constant_2!.data]);
});

test("dump writes one line a node", () => {
  const x = input("x", ["batch", 4]);
  const hidden = relu(matmul(x, input("w", [4, 6])));
  const rows = reshape(layerNorm(hidden, constant([1, 1, 1, 1, 1, 1])), ["batch", 2, 3]);
  assert.equal(
    dump(graph({ y: mul(rows, 0.5) })),
    [
      "input x: float32[batch, 4]",
      "input w: float32[4, 6]",
      "%0: float32[batch, 6] = MatMul(x, w)",
      "%1: float32[batch, 6] = Relu(%0)",
      "%2: float32[batch, 6], %2.1: float32[batch, 1], %2.2: float32[batch, 1] = " +
        "LayerNormalization(%1, constant float32[6], axis=1, epsilon=0.00001)",
      "%3: float32[batch, 2, 3] = Reshape(%2, shape=[batch, 2, 3])",
      "%4: float32[batch, 2, 3] = Mul(%3, 0.5)",
      "output y = %4",
    ].join("\n"),
  );
});

test("evaluate says which input is missing or does not fit", () => {
  const g = graph({ y: relu(input("x", ["batch", 2])) });
  assert.throws(() => evaluate(g, {}), {
    message: 'evaluate: input "x" (float32[batch, 2]) is missing',
  });
  assert.throws(() => evaluate(g, { x: value("float32", [2, 3]) }), {
    message: 'evaluate: input "x" is float32[batch, 2], was given [2, 3]',
  });
  assert.deepEqual(evaluate(g, { x: numbers([-1, 2], [1, 2]) }).y!.data, Float64Array.of(0, 2));
});
