import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, grad, graph, input, type Value } from "../graph/index.js";
import {
  assertClose,
  assertRuns,
  finiteDifferences,
  floats,
  numbers,
  project,
} from "../graph/testing.js";
import { BatchNorm } from "./batch-norm.js";
import { BufferUpdates } from "./buffer-updates.js";
import { initialize, Scope } from "./parameters.js";

const ROWS = 5;
const WIDTH = 3;
const SHAPE = [ROWS, WIDTH];

/** Mean, and sum of squares about it, of each column. */
function columns({ data }: Value) {
  return Array.from({ length: WIDTH }, (_, c) => {
    const column = Array.from({ length: ROWS }, (_, row) => data[row * WIDTH + c]!);
    const mean = column.reduce((a, b) => a + b, 0) / ROWS;
    return { mean, squares: column.reduce((sum, x) => sum + (x - mean) ** 2, 0) };
  });
}

function module(affine = true) {
  const scope = new Scope();
  const norm = new BatchNorm(scope.child("norm"), WIDTH, { affine });
  return { scope, norm };
}

/** Parameters and buffers other than those a model starts with. */
const STATE = {
  "norm.weight": numbers([1.5, 0.5, -2]),
  "norm.bias": numbers([0.25, -1, 3]),
  "norm.running_mean": numbers([0.5, -0.25, 2]),
  "norm.running_var": numbers([2, 0.5, 1.25]),
  "norm.num_batches_tracked": numbers([7], []),
};

test("parameters and buffers have torch's names and start as torch's", () => {
  const { scope } = module();
  assert.deepEqual(
    [...scope.parameters].map(([name, p]) => [name, p.shape, p.trainable, p.fileType]),
    [
      ["norm.weight", [WIDTH], true, "F32"],
      ["norm.bias", [WIDTH], true, "F32"],
      ["norm.running_mean", [WIDTH], false, "F32"],
      ["norm.running_var", [WIDTH], false, "F32"],
      ["norm.num_batches_tracked", [], false, "I64"],
    ],
  );
  assert.deepEqual(
    [...initialize(scope.parameters, 0).values()].map((values) => [...values]),
    [[1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1], [0]],
  );
  const plain = module(false).scope;
  assert.ok(!plain.parameters.has("norm.weight") && plain.parameters.size === 3);
});

test("training standardises by the batch; running statistics follow over several calls", async () => {
  const { norm } = module();
  const batches = { a: floats(SHAPE, -2, 4, "a"), b: floats(SHAPE, 3, 5, "b") };
  const updates = new BufferUpdates();
  const a = norm.call(input("a", SHAPE), updates);
  const b = norm.call(input("b", SHAPE), updates);
  const values = { ...STATE, ...batches };
  const renamed = [...updates.values].map(([name, x]) => [`new ${name}`, x] as const);
  const outputs = graph({ "y of a": a, "y of b": b, ...Object.fromEntries(renamed) });
  await assertRuns(outputs, values, 1e-5, "batch norm");
  const results = evaluate(outputs, values);

  const mean = [...STATE["norm.running_mean"].data];
  const variance = [...STATE["norm.running_var"].data];
  for (const [name, batch] of Object.entries(batches)) {
    const statistics = columns(batch);
    const expected = [...batch.data].map((x, i) => {
      const c = i % WIDTH;
      const { mean, squares } = statistics[c]!;
      const normal = (x - mean) / Math.sqrt(squares / ROWS + 1e-5);
      return normal * STATE["norm.weight"].data[c]! + STATE["norm.bias"].data[c]!;
    });
    assertClose(results[`y of ${name}`]!.data, expected, 1e-6, `output of ${name}`);
    for (const [c, { mean: m, squares }] of statistics.entries()) {
      mean[c] = 0.9 * mean[c]! + 0.1 * m;
      variance[c] = 0.9 * variance[c]! + (0.1 * squares) / (ROWS - 1);
    }
  }
  assertClose(results["new norm.running_mean"]!.data, mean, 1e-6, "running mean");
  assertClose(results["new norm.running_var"]!.data, variance, 1e-6, "running variance");
  assert.deepEqual([...results["new norm.num_batches_tracked"]!.data], [9]);
});

test("evaluation standardises by the running statistics, of any number of rows", async () => {
  const x = floats([2, WIDTH], -2, 4);
  const state = (name: keyof typeof STATE, i: number) => STATE[name].data[i % WIDTH]!;
  for (const affine of [true, false]) {
    const y = module(affine).norm.call(input("x", ["batch", WIDTH]));
    const values = { x, ...STATE };
    const outputs = graph({ y });
    const known = Object.fromEntries(
      [...outputs.inputs.keys()].map((name) => [name, values[name as keyof typeof values]]),
    );
    await assertRuns(outputs, known, 1e-5, "batch norm");
    const expected = [...x.data].map((v, i) => {
      const scale = Math.sqrt(state("norm.running_var", i) + 1e-5);
      const normal = (v - state("norm.running_mean", i)) / scale;
      return affine ? normal * state("norm.weight", i) + state("norm.bias", i) : normal;
    });
    assertClose(evaluate(outputs, known).y!.data, expected, 1e-6, `affine ${affine}`);
  }
});

test("gradients flow through the batch's statistics", () => {
  const { scope, norm } = module();
  const x = input("x", SHAPE);
  const loss = project(norm.call(x, new BufferUpdates()), SHAPE);
  const values = { ...STATE, x: floats(SHAPE) };
  const names = ["x", "norm.weight", "norm.bias"];
  const tensors = names.map((name) => scope.parameters.get(name)?.tensor ?? x);
  for (const [i, gradient] of grad(loss, tensors).entries()) {
    const name = names[i]!;
    const expected = finiteDifferences(graph({ loss }), values, name);
    const actual = evaluate(graph({ gradient: gradient! }), values).gradient!.data;
    assertClose(actual, expected, 1e-6, `gradient by ${name}`);
  }
});

test("training needs a fixed number of rows, at least 2", () => {
  for (const rows of ["batch", 1]) {
    assert.throws(() => module().norm.call(input("x", [rows, WIDTH]), new BufferUpdates()), {
      message: `batch norm: training needs a fixed number of rows, at least 2, to tell their variance from; got [${rows}, 3]`,
    });
  }
});
