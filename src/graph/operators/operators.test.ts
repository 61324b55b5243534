import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isFloat } from "../dtype.js";
import { grad } from "../grad.js";
import { type Graph, graph } from "../graph.js";
import type { Shape } from "../shape.js";
import { type Attributes, applyAll, type Operator, type Tensor, type Value } from "../tensor.js";
import {
  assertClose,
  assertGradients,
  assertRuns,
  bools,
  floats,
  inputsOf,
  integers,
  numbers,
  project,
  runOnce,
  type Values,
} from "../testing.js";
import * as operators from "./index.js";
import { add, cast } from "./index.js";

// biome-ignore lint/suspicious/noExplicitAny: the table holds operators of every kind of attributes.
type AnyOperator = Operator<any>;

interface Case {
  /** What sets this case apart from others of its operator. */
  readonly name?: string;
  readonly operator: AnyOperator;
  readonly inputs: readonly Value[];
  readonly attributes?: Attributes;
  /** Places of the inputs that have a gradient; default: the first. */
  readonly differentiable?: readonly number[];
  /** Places of the outputs used; default: all. */
  readonly outputs?: readonly number[];
  /** Relative error of ONNX Runtime's kernel; default 1e-6. */
  readonly tolerance?: number;
  /** Places of inputs whose first size may be named `batch`. */
  readonly batch?: readonly number[];
  /** Attributes where sizes are named. */
  readonly batchAttributes?: Attributes;
  /** Why there is no gradient where the size is named. */
  readonly batchGradientError?: RegExp;
  /** Why ONNX Runtime's processor kernels cannot run it: only the reference is tested. */
  readonly noKernel?: string;
}

const pair: readonly Value[] = [floats([2, 3], -2, 2, "a"), floats([2, 3], -2, 2, "b")];
const spread: readonly Value[] = [floats([3, 1], -2, 2, "a"), floats([2, 1, 4], -2, 2, "b")];
const positive: readonly Value[] = [floats([2, 3], 0.5, 2, "a"), floats([2, 3], 0.5, 2, "b")];
const signed = [integers([2, 4], -9, 9, "int32", "a"), integers([4], 1, 5, "int32", "b")];
const long = [integers([2, 4], -9, 9, "int64", "a"), integers([4], 1, 5, "int64", "b")];
/** Values that differ by at least 0.1, in mixed order: no ties within a finite difference. */
const distinct = numbers(
  [0.3, -1.2, 2.1, 0.9, -0.4, 1.5, -2.2, 0.1, 1.1, -0.8, 0.5, 1.8],
  [2, 3, 2],
);

function arithmetic(operator: AnyOperator, values = pair, broadcast = spread): Case[] {
  const [a, b] = values as [Value, Value];
  const row = { ...b, shape: [3], data: b.data.slice(0, 3) };
  const both = { differentiable: [0, 1] };
  return [
    { operator, inputs: [a, b], ...both, batch: [0, 1] },
    { operator, name: "broadcast both ways", inputs: broadcast, ...both, batch: [1] },
    { operator, name: "with a row", inputs: [a, row], ...both, batch: [0] },
    { operator, name: "of int32", inputs: signed, differentiable: [] },
    { operator, name: "of int64", inputs: long, differentiable: [] },
  ];
}

function comparison(operator: AnyOperator): Case[] {
  const float = (key: string, shape: number[]) => integers(shape, 0, 3, "float32", key);
  return [
    { operator, inputs: [float("a", [3, 4]), float("b", [4])], differentiable: [], batch: [0] },
    { operator, name: "of int32", inputs: signed, differentiable: [] },
    { operator, name: "of int64", inputs: long, differentiable: [] },
  ];
}

function logic(operator: AnyOperator): Case[] {
  const inputs = [bools([4, 1], "a"), bools([5], "b")];
  return [{ operator, inputs, differentiable: [], batch: [0] }];
}

function smooth(operator: AnyOperator, low: number, high: number, tolerance = 1e-6): Case {
  return { operator, inputs: [floats([3, 4], low, high)], batch: [0], tolerance };
}

function reduction(operator: AnyOperator): Case[] {
  return [
    { operator, inputs: [distinct], attributes: { axes: [1], keepdims: 0 }, batch: [0] },
    {
      operator,
      name: "keeping axes",
      inputs: [distinct],
      attributes: { axes: [2, 1], keepdims: 1 },
      batch: [0],
    },
    {
      operator,
      name: "over everything",
      inputs: [distinct],
      attributes: { axes: [0, 1, 2], keepdims: 0 },
    },
    {
      operator,
      name: "of int32",
      inputs: [integers([3, 4], -9, 9, "int32")],
      attributes: { axes: [0], keepdims: 0 },
      differentiable: [],
    },
  ];
}

function casts(from: Value, targets: readonly string[]): Case[] {
  return targets.map((to) => ({
    operator: operators.Cast,
    name: `${from.dtype} to ${to}`,
    inputs: [from],
    attributes: { to },
    differentiable: from.dtype === "float32" && to.startsWith("float") ? [0] : [],
    batch: [0],
  }));
}

const window = { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0] };
const layer = { axis: 2, epsilon: 1e-5 };
const layerInputs = [floats([2, 3, 5]), floats([5], 0.5, 1.5)];

const cases: readonly Case[] = [
  ...arithmetic(operators.Add),
  ...arithmetic(operators.Sub),
  ...arithmetic(operators.Mul),
  ...arithmetic(operators.Div, positive, [
    floats([3, 1], -2, 2, "a"),
    floats([2, 1, 4], 0.5, 2, "b"),
  ]),
  {
    operator: operators.Pow,
    inputs: [floats([2, 3], 0.5, 2), floats([3], -2, 3)],
    batch: [0],
  },
  ...arithmetic(operators.Max),
  ...arithmetic(operators.Min),

  ...comparison(operators.Equal),
  {
    operator: operators.Equal,
    name: "of bool",
    inputs: [bools([8], "a"), bools([8], "b")],
    differentiable: [],
  },
  ...comparison(operators.Less),
  ...comparison(operators.LessOrEqual),
  ...comparison(operators.Greater),
  ...comparison(operators.GreaterOrEqual),
  ...logic(operators.And),
  ...logic(operators.Or),
  { operator: operators.Not, inputs: [bools([8])], differentiable: [], batch: [0] },

  smooth(operators.Neg, -2, 2),
  {
    operator: operators.Neg,
    name: "of int64",
    inputs: [integers([5], -9, 9)],
    differentiable: [],
  },
  smooth(operators.Abs, -2, 2),
  {
    operator: operators.Abs,
    name: "of int32",
    inputs: [integers([5], -9, 9, "int32")],
    differentiable: [],
  },
  smooth(operators.Exp, -3, 3),
  smooth(operators.Log, 0.1, 3),
  smooth(operators.Sqrt, 0.1, 3),
  smooth(operators.Reciprocal, 0.5, 2),
  smooth(operators.Sin, -4, 4),
  smooth(operators.Cos, -4, 4),
  smooth(operators.Tanh, -3, 3),
  smooth(operators.Sigmoid, -5, 5),
  smooth(operators.Softplus, -5, 5),
  {
    operator: operators.Softplus,
    name: "of large numbers",
    inputs: [numbers([-200, -30, 30, 200])],
  },
  smooth(operators.Relu, -2, 2),
  smooth(operators.Erf, -3.5, 3.5),
  smooth(operators.Gelu, -4, 4),
  smooth(operators.Identity, -2, 2),
  {
    operator: operators.Identity,
    name: "of bool",
    inputs: [bools([5])],
    differentiable: [],
  },
  { operator: operators.Detach, inputs: [floats([4])], differentiable: [], batch: [0] },
  ...casts(numbers([0, -1.7, 2.5, 1, 3.99]), ["float64", "int32", "int64", "bool"]),
  ...casts(numbers([0, 1.7, 200.2]), ["uint8"]),
  ...casts(integers([6], -5, 5), ["float32", "int32", "bool"]),
  ...casts(integers([6], -5, 5, "int32"), ["float32", "int64", "bool"]),
  ...casts(integers([6], 0, 256, "uint8"), ["float32", "int32"]),
  ...casts(bools([6]), ["float32", "int32", "int64"]),
  {
    operator: operators.Where,
    inputs: [bools([2, 3]), ...pair],
    differentiable: [1, 2],
    batch: [0, 1, 2],
  },
  {
    operator: operators.Where,
    name: "broadcast all ways",
    inputs: [bools([4]), ...spread],
    differentiable: [1, 2],
    batch: [2],
  },
  {
    operator: operators.Where,
    name: "of int64",
    inputs: [bools([2, 4]), ...long],
    differentiable: [],
  },
  {
    operator: operators.Where,
    name: "of int32",
    inputs: [bools([2, 4]), ...signed],
    differentiable: [],
  },
  {
    operator: operators.Where,
    name: "of bool",
    inputs: [bools([8], "condition"), bools([8], "a"), bools([8], "b")],
    differentiable: [],
    noKernel: "Where has none for bool",
  },

  {
    operator: operators.MatMul,
    inputs: [floats([3, 4]), floats([4, 2])],
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.MatMul,
    name: "of a batch by one matrix",
    inputs: [floats([2, 3, 4]), floats([4, 5])],
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.MatMul,
    name: "of one matrix by a batch",
    inputs: [floats([3, 4]), floats([2, 4, 5])],
    differentiable: [0, 1],
    batch: [1],
  },
  {
    operator: operators.MatMul,
    name: "broadcast both ways",
    inputs: [floats([2, 1, 3, 4]), floats([3, 4, 2])],
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.MatMul,
    name: "of two batches",
    inputs: [floats([2, 2, 3, 4]), floats([2, 2, 4, 2])],
    differentiable: [0, 1],
    batch: [0, 1],
  },
  {
    operator: operators.MatMul,
    name: "of int32",
    inputs: [integers([3, 4], -5, 5, "int32"), integers([4, 2], -5, 5, "int32", "b")],
    differentiable: [],
  },

  ...reduction(operators.ReduceSum),
  ...reduction(operators.ReduceMean).filter(({ name }) => name !== "of int32"),
  {
    operator: operators.ReduceMean,
    name: "over a named size",
    inputs: [distinct],
    attributes: { axes: [0], keepdims: 0 },
    batch: [0],
    batchGradientError: /ReduceMean: .*\[batch, 3, 2\] without a fixed size has no gradient/,
  },
  ...reduction(operators.ReduceMax),
  { operator: operators.ShapeOf, inputs: [floats([2, 3])], differentiable: [], batch: [0] },
  {
    operator: operators.Expand,
    inputs: [floats([3, 1]), numbers([2, 3, 4], [3], "int64")],
    attributes: { shape: [2, 3, 4] },
    batchAttributes: { shape: ["batch", 3, 4] },
    batch: [],
  },

  {
    operator: operators.Softmax,
    inputs: [floats([2, 5], -3, 3)],
    attributes: { axis: 1 },
    batch: [0],
  },
  {
    operator: operators.Softmax,
    name: "along a middle axis of large numbers",
    inputs: [numbers([1000, -1000, 999, -1001, 1001, -1002.5], [1, 3, 2])],
    attributes: { axis: 1 },
    batch: [0],
  },
  {
    operator: operators.LayerNormalization,
    inputs: layerInputs,
    attributes: layer,
    differentiable: [0, 1],
    batch: [0],
  },
  ...[[0], [1], [2]].map((outputs) => ({
    operator: operators.LayerNormalization,
    name: `of which output ${outputs} is used`,
    inputs: layerInputs,
    attributes: layer,
    outputs,
    differentiable: [0, 1],
    batch: [0],
  })),

  {
    operator: operators.Gather,
    inputs: [floats([4, 3]), numbers([2, 0, 2, 3], [2, 2], "int64")],
    attributes: { axis: 0 },
    batch: [1],
  },
  {
    operator: operators.Gather,
    name: "along a middle axis",
    inputs: [floats([2, 4, 3]), numbers([1, 1, 3], [3], "int32")],
    attributes: { axis: 1 },
    batch: [0],
  },
  {
    operator: operators.Gather,
    name: "of one place",
    inputs: [floats([2, 4, 3]), numbers([2], [], "int64")],
    attributes: { axis: 2 },
    batch: [0],
  },
  {
    operator: operators.Gather,
    name: "from a long table",
    inputs: [floats([513, 2]), numbers([512, 7, 512], [3], "int64")],
    attributes: { axis: 0 },
    batch: [1],
  },
  {
    operator: operators.GatherElements,
    inputs: [floats([3, 4]), numbers([3, 3, 0, 1, 2, 2], [3, 2], "int64")],
    attributes: { axis: 1 },
    batch: [0, 1],
    batchGradientError: /GatherElements' gradient: axis 0 of \[batch, 4\] needs a fixed size/,
  },
  {
    operator: operators.GatherElements,
    name: "along the first axis",
    inputs: [floats([3, 2]), numbers([2, 0, 2, 1, 0, 0, 1, 2], [4, 2], "int32")],
    attributes: { axis: 0 },
  },
  {
    operator: operators.ScatterElements,
    inputs: [floats([3, 4]), numbers([3, 3, 0, 1, 2, 2], [3, 2], "int64"), floats([3, 2])],
    attributes: { axis: 1, reduction: "add" },
    differentiable: [0, 2],
    batch: [0, 1, 2],
  },
  {
    operator: operators.TopK,
    inputs: [distinct],
    attributes: { k: [2], axis: 1 },
    batch: [0],
    batchGradientError: /TopK's gradient: axis 0 of \[batch, 3, 2\] needs a fixed size/,
  },
  {
    operator: operators.TopK,
    name: "among equals",
    inputs: [numbers([1, 3, 3, 2, 3, 1], [6], "float32")],
    attributes: { k: [4], axis: 0 },
    differentiable: [],
    outputs: [1],
  },

  {
    operator: operators.Reshape,
    inputs: [floats([2, 6])],
    attributes: { shape: [2, 3, 2] },
    batch: [0],
    batchAttributes: { shape: ["batch", 3, 2] },
  },
  {
    operator: operators.Reshape,
    name: "into more rows",
    inputs: [floats([2, 6])],
    attributes: { shape: [4, 3] },
    batch: [0],
    batchAttributes: { shape: ["2*batch", 3] },
  },
  {
    operator: operators.Transpose,
    inputs: [floats([2, 3, 4])],
    attributes: { perm: [2, 0, 1] },
    batch: [0],
  },
  {
    operator: operators.Slice,
    inputs: [floats([3, 4, 5])],
    attributes: { starts: [1, 0], ends: [3, 4], axes: [1, 2] },
    batch: [0],
  },
  {
    operator: operators.Split,
    inputs: [floats([2, 5, 3])],
    attributes: { split: [2, 3], axis: 1 },
    batch: [0],
  },
  {
    operator: operators.Pad,
    inputs: [floats([2, 3, 2])],
    attributes: { pads: [0, 1, 0, 0, 2, 3] },
    batch: [0],
  },
  {
    operator: operators.Concat,
    inputs: [floats([2, 1, 2], -1, 1, "a"), floats([2, 3, 2]), floats([2, 2, 2])],
    attributes: { axis: 1 },
    differentiable: [0, 1, 2],
    batch: [0, 1, 2],
  },
  {
    operator: operators.Concat,
    name: "of int64",
    inputs: [integers([2], 0, 9), integers([3], 0, 9)],
    attributes: { axis: 0 },
    differentiable: [],
  },

  {
    operator: operators.Conv,
    inputs: [floats([2, 2, 4, 5]), floats([3, 2, 2, 3])],
    attributes: window,
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.Conv,
    name: "with steps that leave rows over",
    inputs: [floats([2, 2, 6, 5]), floats([2, 2, 3, 2])],
    attributes: { ...window, strides: [2, 3] },
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.Conv,
    name: "with gaps and uneven margins",
    inputs: [floats([1, 2, 5, 6]), floats([2, 2, 2, 2])],
    attributes: { strides: [1, 2], dilations: [2, 3], pads: [0, 1, 2, 1] },
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.ConvTranspose,
    inputs: [floats([2, 2, 2, 3]), floats([2, 3, 2, 2])],
    attributes: { ...window, output_padding: [0, 0] },
    differentiable: [0, 1],
    batch: [0],
  },
  {
    operator: operators.ConvTranspose,
    name: "with steps, gaps and margins",
    inputs: [floats([1, 2, 3, 2]), floats([2, 2, 3, 2])],
    attributes: {
      strides: [2, 3],
      dilations: [1, 2],
      pads: [1, 0, 1, 1],
      output_padding: [1, 0],
    },
    differentiable: [0, 1],
    batch: [0],
  },
];

const nameOf = (place: number) => `x${place}`;
const title = ({ operator, name }: Case) =>
  `${operator === operators.Detach ? "Detach" : operator.name}${name ? ` ${name}` : ""}`;

function valuesOf({ inputs }: Case): Values {
  return Object.fromEntries(inputs.map((x, place) => [nameOf(place), x]));
}

/** The outputs in use, of the operator applied to `inputs`. */
function applyTo(c: Case, inputs: Record<string, Tensor>): readonly Tensor[] {
  const places = c.inputs.map((_, place) => inputs[nameOf(place)]!);
  const outputs = applyAll(c.operator, places, c.attributes ?? {});
  return c.outputs ? c.outputs.map((place) => outputs[place]!) : outputs;
}

const outputsOf = (outputs: readonly Tensor[]) =>
  graph(Object.fromEntries(outputs.map((output, i) => [`y${i}`, output])));

/**
 * One scalar of all the outputs that are floats. `shapes` are theirs by default; weights do not vary
 * along a size that has a name there.
 */
function loss(outputs: readonly Tensor[], given?: readonly Shape[]): Tensor {
  const shapes = given ?? outputs.map(({ shape }) => shape);
  return outputs
    .flatMap((output, i) => {
      const weights = shapes[i]!.map((dim) => (typeof dim === "string" ? 1 : dim));
      return isFloat(output.dtype)
        ? [project(cast(output, "float64"), weights, `output ${i}`)]
        : [];
    })
    .reduce(add);
}

const differentiable = (c: Case) => (c.differentiable ?? [0]).map(nameOf);

/** Gradients of {@link loss} with respect to the differentiable inputs. */
function gradientGraph(c: Case, inputs: Record<string, Tensor>, shapes?: readonly Shape[]): Graph {
  const names = differentiable(c);
  const gradients = grad(
    loss(applyTo(c, inputs), shapes),
    names.map((name) => inputs[name]!),
  );
  return graph(Object.fromEntries(names.map((name, i) => [`gradient of ${name}`, gradients[i]!])));
}

function batchShapes(c: Case): Record<string, Shape> {
  return Object.fromEntries(
    (c.batch ?? []).map((place) => [nameOf(place), ["batch", ...c.inputs[place]!.shape.slice(1)]]),
  );
}

test("every exported operator has a case", () => {
  const exported = Object.entries(operators).filter(
    ([, x]) => typeof x === "object" && "infer" in x && "reference" in x,
  );
  assert.ok(exported.length > 50, `found only ${exported.length} operators`);
  const covered = new Set(cases.map((c) => c.operator));
  const missing = exported.filter(([, x]) => !covered.has(x as AnyOperator)).map(([name]) => name);
  assert.deepEqual(missing, []);
});

describe("ONNX Runtime agrees with the reference", () => {
  for (const c of cases) {
    test(title(c), { skip: c.noKernel ?? false }, async () => {
      const values = valuesOf(c);
      await assertRuns(
        outputsOf(applyTo(c, inputsOf(values))),
        values,
        c.tolerance ?? 1e-6,
        title(c),
      );
    });
  }
});

describe("gradients agree with finite differences", () => {
  for (const c of cases) {
    const names = differentiable(c);
    if (names.length === 0) continue;
    test(title(c), () => {
      assertGradients((inputs) => loss(applyTo(c, inputs)), valuesOf(c), { wrt: names });
    });
  }
});

describe("gradients run on ONNX Runtime", () => {
  for (const c of cases) {
    if (differentiable(c).length === 0) continue;
    test(title(c), async () => {
      const values = valuesOf(c);
      await assertRuns(gradientGraph(c, inputsOf(values)), values, 1e-4, title(c));
    });
  }
});

test("inputs that are not differentiable have no gradient", () => {
  for (const c of cases) {
    const inputs = inputsOf(valuesOf(c));
    const outputs = applyTo(c, inputs);
    if (!outputs.some((output) => isFloat(output.dtype))) continue;
    const names = differentiable(c);
    for (const [name, gradient] of Object.entries(inputs).map(
      ([name, x]) => [name, grad(loss(outputs), [x])[0]] as const,
    )) {
      const has = gradient !== undefined;
      assert.equal(has, names.includes(name), `${title(c)}: gradient of ${name}`);
    }
  }
});

describe("sizes with a name give the same results", () => {
  for (const c of cases) {
    if (c.batch === undefined) continue;
    test(title(c), async () => {
      const values = valuesOf(c);
      const fixed = inputsOf(values);
      const named = inputsOf(values, batchShapes(c));
      const open = { ...c, attributes: c.batchAttributes ?? c.attributes ?? {} };
      const same = async (a: Graph, b: Graph) => {
        const [expected, actual] = [await runOnce(a, values), await runOnce(b, values)];
        for (const [name, data] of Object.entries(expected)) {
          assertClose(actual[name]!, data, 1e-6, `${title(c)}: ${name}`);
        }
      };
      const outputs = applyTo(open, named);
      await same(outputsOf(applyTo(c, fixed)), outputsOf(outputs));
      if (differentiable(c).length === 0) return;
      if (c.batchGradientError) {
        assert.throws(() => gradientGraph(open, named), c.batchGradientError);
        return;
      }
      const shapes = outputs.map(({ shape }) => shape);
      await same(gradientGraph(c, fixed, shapes), gradientGraph(open, named));
    });
  }
});
