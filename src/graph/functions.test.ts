import assert from "node:assert/strict";
import { test } from "node:test";
import {
  batchNorm,
  crossEntropy,
  evaluate,
  grad,
  graph,
  input,
  l2norm,
  layerNorm,
  linear,
  logSoftmax,
  logSumExp,
  maskedFill,
  maskedMean,
} from "./index.js";
import {
  assertClose,
  assertGradients,
  assertRuns,
  type Build,
  floats,
  inputsOf,
  integers,
  numbers,
  runOnce,
  toDouble,
  total,
  type Values,
} from "./testing.js";

/** The value of `build` in double precision, after checking that ONNX Runtime gives it too. */
async function run(build: Build, values: Values, tolerance = 1e-6): Promise<Float64Array> {
  await assertRuns(graph({ y: build(inputsOf(values)) }), values, tolerance, "ONNX Runtime");
  const wide = toDouble(values);
  return evaluate(graph({ y: build(inputsOf(wide)) }), wide).y!.data;
}

/** The gradient of the sum of `build` on ONNX Runtime in float32. */
async function gradientOf(build: Build, values: Values, name: string): Promise<Float64Array> {
  const inputs = inputsOf(values);
  const [gradient] = grad(total(build(inputs)), [inputs[name]!]);
  return (await runOnce(graph({ gradient: gradient! }), values)).gradient!;
}

test("linear multiplies by the transposed weights and adds the bias", async () => {
  const values = {
    x: numbers([1, 2, 3, 4], [2, 2]),
    w: numbers([1, 0, 0, 1, 10, 100], [3, 2]),
    b: numbers([0.5, 0, -1]),
  };
  const build: Build = ({ x, w, b }) => linear(x!, w!, b!);
  assert.deepEqual([...(await run(build, values))], [1.5, 2, 209, 3.5, 4, 429]);
  assertGradients(build, values);
  assertGradients(({ x, w }) => linear(x!, w!), { x: floats([2, 3, 4]), w: floats([5, 4]) });
});

test("logSumExp is the logarithm of the sum of exponentials", async () => {
  const x = floats([3, 4], -3, 3);
  const rows = [0, 1, 2].map((i) =>
    Math.log([...x.data.slice(4 * i, 4 * i + 4)].reduce((sum, v) => sum + Math.exp(v), 0)),
  );
  assertClose(await run(({ x }) => logSumExp(x!), { x }), rows, 1e-12, "logSumExp");
  assert.deepEqual(logSumExp(input("x", [3, 4]), 0).shape, [4]);
  assert.deepEqual(logSumExp(input("x", [3, 4]), 0, true).shape, [1, 4]);
  for (const axis of [0, 1, -1]) assertGradients(({ x }) => logSumExp(x!, axis), { x });
});

test("logSumExp neither overflows nor vanishes", async () => {
  const x = numbers([1e4, 1e4 - 1, -1e4, -1e4, -1e4 - 2, -1e4, 7, 7, 7], [3, 3]);
  const build: Build = ({ x }) => logSumExp(x!);
  const expected = [
    1e4 + Math.log1p(Math.exp(-1)),
    -1e4 + Math.log(2 + Math.exp(-2)),
    7 + Math.log(3),
  ];
  assertClose(await run(build, { x }), expected, 1e-12, "logSumExp");
  assertGradients(build, { x }, { tolerance: 1e-5 });
  const gradient = await gradientOf(build, { x }, "x");
  // Its gradient is softmax, where equal values share alike although they tie for the maximum.
  assertClose(gradient.slice(6), [1 / 3, 1 / 3, 1 / 3], 1e-6, "equal values");
  assertClose(gradient.slice(0, 3), [0.7310586, 0.2689414, 0], 1e-6, "large values");
});

test("logSoftmax sums to one after exp", async () => {
  const x = floats([2, 5], -50, 50);
  const y = await run(({ x }) => logSoftmax(x!), { x });
  for (const row of [y.slice(0, 5), y.slice(5)]) {
    assertClose([row.reduce((sum, v) => sum + Math.exp(v), 0)], [1], 1e-12, "sum");
  }
  assertGradients(({ x }) => logSoftmax(x!, 0), { x: floats([3, 2]) });
});

const logits = floats([4, 3], -2, 2);

/** Mean negative log probability of the labels, over the rows whose label is a class. */
function plainCrossEntropy(labels: readonly number[]): number {
  const losses = labels.flatMap((label, row) => {
    if (label < 0) return [];
    const cells = [...logits.data.slice(3 * row, 3 * row + 3)];
    const normalizer = cells.reduce((sum, v) => sum + Math.exp(v), 0);
    return [-Math.log(Math.exp(cells[label]!) / normalizer)];
  });
  return losses.length === 0 ? 0 : losses.reduce((a, b) => a + b, 0) / losses.length;
}

for (const dtype of ["int32", "int64"] as const) {
  test(`crossEntropy with ${dtype} labels`, async () => {
    const labels = numbers([2, 0, 1, 2], [4], dtype);
    const build: Build = ({ logits, labels }) => crossEntropy(logits!, labels!);
    const expected = plainCrossEntropy([2, 0, 1, 2]);
    assertClose(await run(build, { logits, labels }), [expected], 1e-12, "loss");
    assertGradients(build, { logits, labels });
  });
}

test("crossEntropy passes over ignored labels, also those outside the classes", async () => {
  const labels = numbers([2, -100, 1, -100], [4], "int64");
  const build: Build = ({ logits, labels }) => crossEntropy(logits!, labels!, -100);
  const expected = plainCrossEntropy([2, -1, 1, -1]);
  assertClose(await run(build, { logits, labels }), [expected], 1e-12, "loss");
  assertGradients(build, { logits, labels });
  const gradient = await gradientOf(build, { logits, labels }, "logits");
  assert.deepEqual([...gradient.slice(3, 6), ...gradient.slice(9)], [0, 0, 0, 0, 0, 0]);

  const none = { logits, labels: numbers([-100, -100, -100, -100], [4], "int64") };
  assert.deepEqual([...(await run(build, none))], [0]);
  assert.ok((await gradientOf(build, none, "logits")).every((g) => g === 0));
});

test("maskedFill replaces what the mask holds", async () => {
  const values = { x: numbers([1, 2, 3, 4], [2, 2]), m: numbers([0, 1], [2], "bool") };
  const build: Build = ({ x, m }) => maskedFill(x!, m!, -9);
  assert.deepEqual([...(await run(build, values))], [1, -9, 3, -9]);
  assertGradients(build, values);
});

test("maskedMean counts what the mask holds", async () => {
  const x = numbers([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 3, 2]);
  const m = numbers([1, 0, 1, 0, 0, 0], [2, 3, 1], "bool");
  const build: Build = ({ x, m }) => maskedMean(x!, m!, 1);
  // The second row's mask is empty.
  assert.deepEqual([...(await run(build, { x, m }))], [3, 4, 0, 0]);
  assertGradients(build, { x, m });
  const gradient = await gradientOf(build, { x, m }, "x");
  assert.deepEqual([...gradient], [0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0, 0, 0, 0, 0]);
});

test("maskedMean takes a mask of fewer axes, but not one too short", async () => {
  const x = numbers([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2]);
  const values = { x, m: numbers([0, 1], [2, 1], "bool") };
  assert.deepEqual([...(await run(({ x, m }) => maskedMean(x!, m!, 1), values))], [3, 4, 7, 8]);
  assert.throws(() => maskedMean(input("x", [2, 3, 4]), input("m", [2, 1, 1], "bool"), 1), {
    message: "maskedMean: the mask [2, 1, 1] must be as long as [2, 3, 4] along axis 1",
  });
});

test("l2norm scales vectors to length 1", async () => {
  const values = { x: numbers([3, 4, 0, -5, 1e-8, 0], [3, 2]) };
  assertClose(await run(({ x }) => l2norm(x!), values), [0.6, 0.8, 0, -1, 1, 0], 1e-7, "l2norm");
  assertGradients(({ x }) => l2norm(x!), { x: floats([2, 4], 0.2, 1) });
});

test("l2norm of a zero vector is zero, with a finite gradient", async () => {
  const x = numbers([0, 0, 3, 4], [2, 2]);
  assert.deepEqual([...(await run(({ x }) => l2norm(x!), { x }))].slice(0, 2), [0, 0]);
  const gradient = await gradientOf(({ x }) => l2norm(x!), { x }, "x");
  assert.ok(gradient.every(Number.isFinite), `gradient ${gradient}`);
  // As torch's normalize: divided by epsilon.
  assertClose(gradient.slice(0, 2), [1e12, 1e12], 1e-6, "gradient at zero");
});

test("batchNorm standardises every channel over the batch", async () => {
  const values = {
    x: floats([5, 3], -2, 4),
    gain: floats([3], 0.5, 2),
    bias: floats([3], -1, 1),
  };
  const { x, gain, bias } = values;
  const column = (c: number) => [0, 1, 2, 3, 4].map((n) => x.data[3 * n + c]!);
  const average = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const means = [0, 1, 2].map((c) => average(column(c)));
  const variances = [0, 1, 2].map((c) => average(column(c).map((v) => (v - means[c]!) ** 2)));
  const expected = [...x.data].map((v, i) => {
    const c = i % 3;
    const scaled = (v - means[c]!) / Math.sqrt(variances[c]! + 1e-5);
    return scaled * gain.data[c]! + bias.data[c]!;
  });
  const norm = ({ x, gain, bias }: ReturnType<typeof inputsOf>) =>
    batchNorm(x!, { gain: gain!, bias: bias! });
  // epsilon is stored in the inputs' type, here double.
  assertClose(await run((t) => norm(t).output, values), expected, 1e-9, "output");
  assertClose(await run((t) => norm(t).mean, values), means, 1e-12, "mean");
  assertClose(await run((t) => norm(t).variance, values), variances, 1e-12, "variance");
  assertGradients((t) => norm(t).output, values);
  assertGradients(({ x }) => batchNorm(x!).output, { x });
});

test("layerNorm has mean 0 and variance 1 before its gain", async () => {
  const x = floats([2, 6], -3, 5);
  const y = await run(({ x, g }) => layerNorm(x!, g!), { x, g: numbers([1, 1, 1, 1, 1, 1]) });
  for (const row of [y.slice(0, 6), y.slice(6)]) {
    assertClose([row.reduce((a, b) => a + b, 0)], [0], 1e-9, "mean");
    assertClose([row.reduce((a, b) => a + b * b, 0) / 6], [1], 1e-4, "variance");
  }
});

test("functions of labels and masks work where the batch has a name", async () => {
  const x = input("x", ["batch", 3]);
  const labels = input("labels", ["batch"], "int64");
  const values = { x: floats([4, 3]), labels: integers([4], 0, 3) };
  const open = graph({ loss: crossEntropy(x, labels, 1), unit: l2norm(x), top: logSumExp(x) });
  const inputs = inputsOf(values);
  const fixed = graph({
    loss: crossEntropy(inputs.x!, inputs.labels!, 1),
    unit: l2norm(inputs.x!),
    top: logSumExp(inputs.x!),
  });
  assert.deepEqual(await runOnce(open, values), await runOnce(fixed, values));
});
