/** What the tests of graphs share: values, gradients by finite differences, and runs on ONNX Runtime. */
import assert from "node:assert/strict";
import { type Feeds, Program } from "../runtime/index.js";
import { random } from "../util/random.js";
import {
  add,
  constant,
  type Data,
  type DType,
  dtypes,
  evaluate,
  type Graph,
  grad,
  graph,
  input,
  isFloat,
  mul,
  type Shape,
  sum,
  type Tensor,
  type Value,
  value,
} from "./index.js";

/** Values of a graph's inputs, by name. */
export type Values = Readonly<Record<string, Value>>;
/** Model code under test. */
export type Build = (inputs: Record<string, Tensor>) => Tensor;

/** Uniform floats that float32 holds exactly, so that both precisions start from the same numbers. */
export function floats(shape: readonly number[], low = -1, high = 1, key = "floats"): Value {
  const stream = random(key, ...shape, low, high);
  return value("float32", shape, () => Math.fround(stream.between(low, high)));
}

/** Whole numbers from `low` up to, without, `high`. */
export function integers(
  shape: readonly number[],
  low: number,
  high: number,
  dtype: DType = "int64",
  key = "integers",
): Value {
  const stream = random(key, ...shape, low, high);
  return value(dtype, shape, () => low + stream.integer(high - low));
}

export function bools(shape: readonly number[], key = "bools"): Value {
  return integers(shape, 0, 2, "bool", key);
}

/** The given numbers; `shape` is one axis by default. */
export function numbers(
  list: readonly number[],
  shape: readonly number[] = [list.length],
  dtype: DType = "float32",
): Value {
  return value(dtype, shape, (i) => list[i]!);
}

/** A value as the typed array that ONNX Runtime reads. */
export function toData({ dtype, data }: Value): Data {
  if (dtype === "int64") return BigInt64Array.from(data, BigInt);
  return new dtypes[dtype].array(data);
}

/** Floats in double precision, the rest as it is. */
export function toDouble(values: Values): Values {
  return Object.fromEntries(
    Object.entries(values).map(([name, x]) => [
      name,
      x.dtype === "float32" ? { ...x, dtype: "float64" as const } : x,
    ]),
  );
}

/** Inputs for the values; `shapes` gives those some of whose sizes are named. */
export function inputsOf(
  values: Values,
  shapes: Readonly<Record<string, Shape>> = {},
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(values).map(([name, { dtype, shape }]) => [
      name,
      input(name, shapes[name] ?? shape, dtype),
    ]),
  );
}

/** Compiles a graph, runs it once and releases it: the outputs' elements by name. */
export async function runOnce(g: Graph, values: Values): Promise<Record<string, Float64Array>> {
  const program = await Program.compile(g, { threads: 1 });
  try {
    const feeds: Feeds = Object.fromEntries(
      [...g.inputs.keys()].map((name) => [name, toData(values[name]!)]),
    );
    const results = Object.entries(await program.run(feeds));
    return Object.fromEntries(results.map(([name, data]) => [name, toPlain(data)]));
  } finally {
    await program.release();
  }
}

/** Numbers of any typed array as doubles. */
export function toPlain(data: Data): Float64Array {
  return Float64Array.from(data as ArrayLike<number | bigint>, Number);
}

/** Asserts that the largest difference is at most `tolerance` times the largest expected magnitude. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  assert.equal(actual.length, expected.length, `${what}: number of elements`);
  let scale = 1e-3;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]!));
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    assert.ok(
      actual[i] === expected[i] || difference <= tolerance * scale,
      `${what}: element ${i} is ${actual[i]}, must be ${expected[i]} (within ${tolerance * scale})`,
    );
  }
}

/** Asserts that ONNX Runtime in float32 gives what the references give in double precision. */
export async function assertRuns(g: Graph, values: Values, tolerance: number, what: string) {
  const expected = evaluate(g, values);
  const actual = await runOnce(g, values);
  for (const [name, result] of Object.entries(expected)) {
    assertClose(actual[name]!, result.data, tolerance, `${what}: ${name}`);
  }
}

/** The sum of all elements. */
export function total(x: Tensor): Tensor {
  return sum(
    x,
    x.shape.map((_, axis) => axis),
  );
}

/** A scalar that depends on every element differently: the sum of x times fixed random numbers. */
export function project(x: Tensor, example: readonly number[], key = "cotangent"): Tensor {
  const weights = floats(example, 0.5, 1.5, key);
  return total(mul(x, constant(weights.data, example, x.dtype)));
}

/** Central differences of a scalar output with respect to one input. */
export function finiteDifferences(g: Graph, values: Values, name: string, output = "loss") {
  const x = values[name]!;
  return Float64Array.from(x.data, (center, i) => {
    const at = (moved: number) => {
      const data = x.data.slice();
      data[i] = moved;
      return evaluate(g, { ...values, [name]: { ...x, data } })[output]!.data[0]!;
    };
    return (at(center + 1e-5) - at(center - 1e-5)) / 2e-5;
  });
}

/** What {@link assertGradients} may be told. */
export interface GradientOptions {
  /** Names of the inputs to differentiate by; default: all floats. */
  readonly wrt?: readonly string[];
  /** Relative error of the gradient; default 1e-6. */
  readonly tolerance?: number;
}

/**
 * Asserts, in double precision, that gradients are those of finite differences, and that the gradients'
 * own gradients are too.
 */
export function assertGradients(build: Build, values: Values, options: GradientOptions = {}) {
  const wide = toDouble(values);
  const names = options.wrt ?? Object.keys(wide).filter((name) => isFloat(wide[name]!.dtype));
  const inputs = inputsOf(wide);
  const output = build(inputs);
  const shape = output.shape as readonly number[];

  const check = (loss: Tensor, tolerance: number, what: string) => {
    const wrt = names.map((name) => inputs[name]!);
    const gradients = grad(loss, wrt);
    const forward = graph({ loss });
    for (const [i, name] of names.entries()) {
      const gradient = gradients[i] ?? mul(wrt[i]!, 0);
      assert.deepEqual(gradient.shape, wrt[i]!.shape, `${what} by ${name}: shape`);
      const expected = finiteDifferences(forward, wide, name);
      const actual = evaluate(graph({ gradient }), wide).gradient!;
      assertClose(actual.data, expected, tolerance, `${what} by ${name}`);
    }
  };
  check(project(output, shape), options.tolerance ?? 1e-6, "gradient");

  // A loss of the second degree, for linear operators to have a second derivative too.
  const curved = add(project(mul(output, output), shape), project(output, shape, "linear"));
  const squares = grad(
    curved,
    names.map((name) => inputs[name]!),
  ).flatMap((gradient) => (gradient ? [total(mul(gradient, gradient))] : []));
  if (squares.length > 0) check(squares.reduce(add), 1e-5, "second derivative");
}
