import assert from "node:assert/strict";
import { test } from "node:test";
import {
  abs,
  add,
  cast,
  concat,
  constant,
  detach,
  div,
  evaluate,
  exp,
  grad,
  graph,
  input,
  matmul,
  max,
  maximum,
  mean,
  minimum,
  mul,
  pullback,
  relu,
  sub,
  sum,
  type Tensor,
  tanh,
  topK,
  topological,
} from "./index.js";
import { assertClose, assertGradients, assertRuns, floats, numbers, total } from "./testing.js";

const x = input("x", []);
const y = input("y", []);

/** Values of scalar tensors where x is 3 and y is 5. */
function valuesOf(...tensors: readonly (Tensor | undefined)[]): number[] {
  const g = graph(Object.fromEntries(tensors.map((tensor, i) => [`t${i}`, tensor!])));
  const values = evaluate(g, { x: numbers([3], []), y: numbers([5], []) });
  return tensors.map((_, i) => values[`t${i}`]!.data[0]!);
}

test("a shared subexpression gathers the gradients of all its uses", () => {
  const shared = mul(x, y);
  const loss = add(mul(shared, shared), shared);
  assert.deepEqual(valuesOf(...grad(loss, [x, y])), [31 * 5, 31 * 3]);
});

test("one tensor used twice by one operator", () => {
  assert.deepEqual(valuesOf(...grad(mul(x, x), [x])), [6]);
  assert.deepEqual(valuesOf(...grad(sub(x, x), [x])), [0]);
  assert.deepEqual(valuesOf(...grad(div(x, x), [x])), [0]);
});

test("what the loss does not depend on has no gradient", () => {
  assert.deepEqual(grad(mul(x, 2), [y]), [undefined]);
  assert.deepEqual(grad(mul(detach(x), 2), [x]), [undefined]);
  assert.deepEqual(grad(mul(constant(1), 2), [x]), [undefined]);
});

test("no gradient passes through whole numbers or bools", () => {
  for (const type of ["int32", "int64", "bool"] as const) {
    assert.deepEqual(grad(cast(cast(x, type), "float32"), [x]), [undefined]);
  }
  const { indices } = topK(input("list", [4]), 2);
  assert.deepEqual(grad(total(cast(indices, "float32")), [input("list", [4])]), [undefined]);
});

test("an intermediate tensor has a gradient, also together with what it depends on", () => {
  const middle = mul(x, x);
  const loss = mul(middle, add(middle, x));
  // loss = m^2 + m x with m = 9 and x = 3: by m it is 2 m + x, by x all in all 4 x^3 + 3 x^2.
  assert.deepEqual(valuesOf(...grad(loss, [middle, x])), [21, 135]);
  assert.deepEqual(valuesOf(...grad(loss, [x, middle])), [135, 21]);
  assert.deepEqual(valuesOf(...grad(loss, [middle])), [21]);
});

test("a tensor asked for twice has its gradient twice", () => {
  assert.deepEqual(valuesOf(...grad(mul(x, y), [x, y, x])), [5, 3, 5]);
});

test("the loss by itself is 1", () => {
  const loss = mul(x, 2);
  assert.deepEqual(valuesOf(...grad(loss, [loss, x])), [1, 2]);
  assert.deepEqual(valuesOf(...grad(x, [x])), [1]);
});

test("the loss must be a scalar float", () => {
  const message = (what: string) => `grad: the loss must be a scalar float, is ${what}`;
  assert.throws(() => grad(input("v", [2]), [x]), { message: message("float32[2]") });
  assert.throws(() => grad(input("n", [], "int32"), [x]), { message: message("int32[]") });
});

test("gradients of broadcasts are summed back to the shapes that were broadcast", () => {
  const values = { a: floats([3, 1]), b: floats([2, 1, 4]), c: floats([]), d: floats([1, 1]) };
  const build = ({ a, b, c, d }: Record<string, Tensor>) =>
    mul(tanh(mul(add(a!, b!), c!)), sub(d!, a!));
  assertGradients(build, values);
});

test("gradients of a broadcast over a named size are summed over it", async () => {
  const v = input("v", ["batch", 3]);
  const bias = input("bias", [3]);
  const scale = input("scale", [1, 1]);
  const [byBias, byScale, byV] = grad(total(exp(mul(add(v, bias), scale))), [bias, scale, v]);
  assert.deepEqual([byBias!.shape, byScale!.shape, byV!.shape], [[3], [1, 1], ["batch", 3]]);
  const values = { v: floats([5, 3]), bias: floats([3]), scale: numbers([0.5], [1, 1]) };
  await assertRuns(graph({ byBias: byBias!, byScale: byScale!, byV: byV! }), values, 1e-5, "batch");
});

test("pullback takes several outputs, each with its own gradient", () => {
  const a = mul(x, y);
  const b = add(x, a);
  const gradients = pullback([a, b], [constant(10), constant(1)], [x, y, a]);
  assert.deepEqual(valuesOf(...gradients), [56, 33, 11]);
});

test("pullback is the vector-Jacobian product", () => {
  const v = input("v", [2, 3]);
  const w = input("w", [3, 2]);
  const cotangent = input("g", [2, 2]);
  const [direct] = pullback([matmul(v, w)], [cotangent], [v]);
  const [projected] = grad(total(mul(matmul(v, w), cotangent)), [v]);
  const values = { v: floats([2, 3]), w: floats([3, 2]), g: floats([2, 2]) };
  const results = evaluate(graph({ direct: direct!, projected: projected! }), values);
  assertClose(results.direct!.data, results.projected!.data, 1e-12, "pullback");
});

test("pullback refuses gradients that do not match the outputs", () => {
  const v = input("v", [2]);
  assert.throws(() => pullback([v], [], [v]), {
    message: "pullback: 1 outputs need as many gradients, there are 0",
  });
  assert.throws(() => pullback([v], [input("g", [3])], [v]), {
    message: "pullback: the gradient of output 0 must be float32[2], is float32[3]",
  });
});

test("at kinks and ties the gradient is one of those on either side, or shared", () => {
  const values = { v: numbers([2, -1, 0, 2]), w: numbers([2, 5, 0, -3]) };
  const v = input("v", [4]);
  const w = input("w", [4]);
  const of = (loss: Tensor, by = v) => {
    const gradient = grad(total(loss), [by])[0]!;
    return [...evaluate(graph({ gradient }), values).gradient!.data];
  };
  assert.deepEqual(of(max(v, 0)), [0.5, 0, 0, 0.5], "equal maxima share");
  assert.deepEqual(of(relu(v)), [1, 0, 0, 1], "relu is flat at zero");
  assert.deepEqual(of(abs(v)), [1, -1, 1, 1]);
  assert.deepEqual(of(maximum(v, w)), [1, 0, 1, 1], "the first of two equals takes all");
  assert.deepEqual(of(maximum(v, w), w), [0, 1, 0, 0]);
  assert.deepEqual(of(minimum(v, w)), [1, 1, 1, 0]);
  assert.deepEqual(of(minimum(v, w), w), [0, 0, 0, 1]);
});

test("a matrix that serves a batch gets its gradient from one product", () => {
  const rows = input("rows", ["batch", 5, 3]);
  const w = input("w", [3, 2]);
  const [byMatrix] = grad(total(matmul(rows, w)), [w]);
  const names = topological([byMatrix!]).map(({ operator }) => operator.name);
  assert.ok(!names.includes("ReduceSum"), `no sum over the batch: ${names}`);
});

test("gradients differentiate again", () => {
  const power = (n: number) => Array.from({ length: n - 1 }).reduce<Tensor>((p) => mul(p, x), x);
  const derivative = (f: Tensor) => grad(f, [x])[0]!;
  const second = derivative(derivative(power(4)));
  assert.deepEqual(valuesOf(second, derivative(second)), [12 * 9, 24 * 3]);
});

test("chains of 20,000 operators do not overflow the stack", () => {
  let chain: Tensor = x;
  for (let i = 0; i < 20_000; i++) chain = i % 2 ? add(chain, 1) : mul(chain, 1);
  assert.equal(topological([chain]).length, 20_000);
  assert.deepEqual(valuesOf(chain, ...grad(chain, [x])), [10_003, 1]);
});

test("a gradient only walks what leads to the inputs asked for", () => {
  const deep = Array.from({ length: 50 }).reduce<Tensor>((t) => tanh(t), y);
  const [gradient] = grad(
    mul(mean(concat([mul(input("v", [2]), 1), expandScalar(deep)], 0), 0), x),
    [x],
  );
  const names = topological([gradient!]).map(({ operator }) => operator.name);
  assert.equal(names.filter((name) => name === "Tanh").length, 50);
  assert.ok(!names.includes("Slice"), "nothing of concat's gradient is built");
});

function expandScalar(scalar: Tensor): Tensor {
  return mul(scalar, constant([1, 1]));
}

test("sum over no axis leaves the tensor alone", () => {
  assert.equal(sum(x, []), x);
});
