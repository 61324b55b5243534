import { isNumber } from "../dtype.js";
import {
  broadcast,
  type Dim,
  formatShape,
  isStatic,
  normalizeAxis,
  type Shape,
  sameShape,
} from "../shape.js";
import { apply, constant, type Operator, type Tensor } from "../tensor.js";
import { indexOf, positionOf, value } from "../value.js";
import { cast, div, equal, mul } from "./elementwise.js";
import { reshape } from "./movement.js";
import { expect, expectType } from "./operator.js";

type ReduceAttributes = {
  readonly axes: readonly number[];
  /** 1: reduced axes stay, with size 1. */
  readonly keepdims: number;
};

/** The input's shape with reduced axes of size 1, or without them. */
function reducedShape<D extends Dim>(shape: readonly D[], { axes, keepdims }: ReduceAttributes) {
  const left = keepdims
    ? shape.map((size, axis) => (axes.includes(axis) ? 1 : size))
    : shape.filter((_, axis) => !axes.includes(axis));
  return left as D[];
}

function reduction(
  name: string,
  start: number,
  f: (sum: number, x: number, count: number) => number,
  gradient: (g: Tensor, x: Tensor, y: Tensor, attributes: ReduceAttributes) => Tensor,
): Operator<ReduceAttributes> {
  return {
    name,
    attributes: { axes: "intsInput", keepdims: "int" },
    infer([x], attributes) {
      expectType(isNumber, x!.dtype, name);
      return [{ dtype: x!.dtype, shape: reducedShape(x!.shape, attributes) }];
    },
    gradients: [
      (g, { inputs: [x], outputs: [y], attributes }) => {
        // With the reduced axes back, gradient and result broadcast against the input.
        const kept = reducedShape(x!.shape, { ...attributes, keepdims: 1 });
        return gradient(reshape(g, kept), x!, reshape(y!, kept), attributes);
      },
    ],
    reference([x], attributes) {
      const kept = reducedShape(x!.shape, { ...attributes, keepdims: 1 });
      const result = value(x!.dtype, kept, () => start);
      const count = x!.data.length / result.data.length;
      for (let i = 0; i < x!.data.length; i++) {
        const at = indexOf(positionOf(i, x!.shape), kept);
        result.data[at] = f(result.data[at]!, x!.data[i]!, count);
      }
      return [{ ...result, shape: reducedShape(x!.shape, attributes) }];
    },
  };
}

export const ReduceSum = reduction(
  "ReduceSum",
  0,
  (sum, x) => sum + x,
  (g, x) => expandLike(g, x),
);

export const ReduceMean = reduction(
  "ReduceMean",
  0,
  (sum, x, count) => sum + x / count,
  (g, x, _, { axes }) => {
    const count = axes.reduce((product, axis) => product * (x.shape[axis] as number), 1);
    expect(
      Number.isFinite(count),
      "ReduceMean",
      `a mean over an axis of ${formatShape(x.shape)} without a fixed size has no gradient`,
    );
    return expandLike(div(g, count), x);
  },
);

/** Elements that share the maximum share its gradient. */
export const ReduceMax = reduction(
  "ReduceMax",
  -Infinity,
  (top, x) => Math.max(top, x),
  (g, x, y, { axes }) => {
    const isMax = cast(equal(x, y), x.dtype);
    return mul(isMax, div(g, sum(isMax, axes, true)));
  },
);

/** The sizes of a tensor as a list of int64; what a graph with named sizes expands to. */
export const ShapeOf: Operator<Record<never, never>> = {
  name: "Shape",
  attributes: {},
  infer: ([x]) => [{ dtype: "int64", shape: [x!.shape.length] }],
  gradients: [null],
  reference: ([x]) => [value("int64", [x!.shape.length], (axis) => x!.shape[axis]!)],
};

/** Broadcasts to the sizes listed by the second input, which are `shape` as far as they are known. */
export const Expand: Operator<{ readonly shape: Shape }> = {
  name: "Expand",
  attributes: { shape: "inference" },
  infer([x], { shape }) {
    expect(
      sameShape(broadcast(x!.shape, shape, "Expand"), shape),
      "Expand",
      `${formatShape(x!.shape)} does not expand to ${formatShape(shape)}`,
    );
    return [{ dtype: x!.dtype, shape }];
  },
  // The walk sums gradients back to the input's shape.
  gradients: [(g) => g, null],
  reference([x, sizes]) {
    const shape = Array.from(sizes!.data);
    return [value(x!.dtype, shape, (i) => x!.data[indexOf(positionOf(i, shape), x!.shape)]!)];
  },
};

// --- What model code calls

type Axes = number | readonly number[];

function reduce(op: Operator<ReduceAttributes>) {
  return (x: Tensor, axes: Axes, keepDims = false): Tensor => {
    const list = typeof axes === "number" ? [axes] : axes;
    const normalized = list.map((axis) => normalizeAxis(axis, x.rank, op.name));
    if (normalized.length === 0) return x;
    return apply(op, [x], { axes: normalized, keepdims: Number(keepDims) });
  };
}

export const sum = reduce(ReduceSum);
export const mean = reduce(ReduceMean);
export const max = reduce(ReduceMax);

/** Broadcasts `x` to a shape without named sizes. */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  if (sameShape(x.shape, shape)) return x;
  return apply(Expand, [x, constant(shape, [shape.length], "int64")], { shape });
}

/** Broadcasts `x` to the shape of `like`, named sizes included. */
export function expandLike(x: Tensor, like: Tensor): Tensor {
  if (isStatic(like.shape)) return expand(x, like.shape);
  if (sameShape(x.shape, like.shape)) return x;
  return apply(Expand, [x, apply(ShapeOf, [like], {})], { shape: like.shape });
}

/** Sums a gradient over the axes along which its tensor was broadcast from `shape`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const added = x.rank - shape.length;
  const axes = x.shape.flatMap((size, axis) =>
    axis < added || (shape[axis - added] === 1 && size !== 1) ? [axis] : [],
  );
  return reshape(sum(x, axes, true), shape);
}
