import { formatShape, normalizeAxis, product, type Shape } from "../shape.js";
import { apply, applyAll, type GradientRule, type Operator, type Tensor } from "../tensor.js";
import { indexOf, positionOf, strides, value } from "../value.js";
import { mul } from "./elementwise.js";
import { expect, sameDType } from "./operator.js";

/** Elements stay in order; only the axes change. */
export const Reshape: Operator<{ readonly shape: Shape }> = {
  name: "Reshape",
  attributes: { shape: "intsInput" },
  infer([x], { shape }) {
    expect(
      product(x!.shape) === product(shape),
      "Reshape",
      `${formatShape(x!.shape)} has ${product(x!.shape)} elements, ` +
        `${formatShape(shape)} has ${product(shape)}`,
    );
    expect(
      shape.filter((dim) => typeof dim === "string").length <= 1,
      "Reshape",
      `${formatShape(shape)} has more than one named size`,
    );
    return [{ dtype: x!.dtype, shape }];
  },
  gradients: [(g, { inputs: [x] }) => reshape(g, x!.shape)],
  // The attribute may name sizes that only the value knows.
  reference: ([x], { shape }) => {
    const known = shape.reduce<number>((n, dim) => (typeof dim === "number" ? n * dim : n), 1);
    const sizes = shape.map((dim) => (typeof dim === "number" ? dim : x!.data.length / known));
    return [{ dtype: x!.dtype, shape: sizes, data: x!.data }];
  },
};

/** Axis i of the result is axis `perm[i]` of the input. */
export const Transpose: Operator<{ readonly perm: readonly number[] }> = {
  name: "Transpose",
  attributes: { perm: "ints" },
  infer([x], { perm }) {
    const isPermutation =
      perm.length === x!.shape.length && x!.shape.every((_, axis) => perm.includes(axis));
    expect(
      isPermutation,
      "Transpose",
      `[${perm.join(", ")}] does not order the axes of ${formatShape(x!.shape)}`,
    );
    return [{ dtype: x!.dtype, shape: perm.map((axis) => x!.shape[axis]!) }];
  },
  gradients: [
    (g, { attributes: { perm } }) =>
      transpose(
        g,
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
  ],
  reference([x], { perm }) {
    const shape = perm.map((axis) => x!.shape[axis]!);
    const steps = strides(x!.shape);
    return [
      value(x!.dtype, shape, (i) => {
        const position = positionOf(i, shape);
        return x!.data[perm.reduce((at, axis, j) => at + steps[axis]! * position[j]!, 0)]!;
      }),
    ];
  },
};

type SliceAttributes = {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly axes: readonly number[];
};

/** Elements from `starts` up to `ends` along `axes`, all counted from the front. */
export const Slice: Operator<SliceAttributes> = {
  name: "Slice",
  attributes: { starts: "intsInput", ends: "intsInput", axes: "intsInput" },
  infer([x], { starts, ends, axes }) {
    const shape = [...x!.shape];
    for (const [i, axis] of axes.entries()) {
      const size = shape[axis];
      const [start, end] = [starts[i]!, ends[i]!];
      expect(
        typeof size === "number" && start >= 0 && start < end && end <= size,
        "Slice",
        `[${start}, ${end}) does not fit axis ${axis} of ${formatShape(x!.shape)}`,
      );
      shape[axis] = end - start;
    }
    return [{ dtype: x!.dtype, shape }];
  },
  gradients: [
    (g, { inputs: [x], attributes: { starts, ends, axes } }) => {
      const before = x!.shape.map(() => 0);
      const after = x!.shape.map(() => 0);
      for (const [i, axis] of axes.entries()) {
        before[axis] = starts[i]!;
        after[axis] = (x!.shape[axis] as number) - ends[i]!;
      }
      return pad(g, before, after);
    },
  ],
  reference([x], { starts, ends, axes }) {
    const shape = x!.shape.map((size, axis) => {
      const i = axes.indexOf(axis);
      return i < 0 ? size : ends[i]! - starts[i]!;
    });
    return [
      value(x!.dtype, shape, (i) => {
        const position = positionOf(i, shape);
        for (const [j, axis] of axes.entries()) position[axis]! += starts[j]!;
        return x!.data[indexOf(position, x!.shape)]!;
      }),
    ];
  },
};

/** Cuts an axis into pieces of the given sizes, one output each. */
export const Split: Operator<{ readonly split: readonly number[]; readonly axis: number }> = {
  name: "Split",
  attributes: { split: "intsInput", axis: "int" },
  infer([x], { split, axis }) {
    const total = split.reduce((a, b) => a + b, 0);
    expect(
      x!.shape[axis] === total,
      "Split",
      `pieces of ${split.join(" + ")} do not make up axis ${axis} of ${formatShape(x!.shape)}`,
    );
    return split.map((piece) => ({
      dtype: x!.dtype,
      shape: x!.shape.map((size, i) => (i === axis ? piece : size)),
    }));
  },
  gradients: [
    (_, { outputs, gradients, attributes: { axis } }) =>
      concat(
        outputs.map((output, i) => gradients[i] ?? mul(output, 0)),
        axis,
      ),
  ],
  reference([x], { split, axis }) {
    let start = 0;
    return split.flatMap((piece) => {
      const attributes = { starts: [start], ends: [start + piece], axes: [axis] };
      start += piece;
      return Slice.reference([x!], attributes);
    });
  },
};

/** Adds zeros around: `pads` lists those before each axis, then those after each. */
export const Pad: Operator<{ readonly pads: readonly number[] }> = {
  name: "Pad",
  attributes: { pads: "intsInput" },
  infer([x], { pads }) {
    const rank = x!.shape.length;
    expect(
      pads.length === 2 * rank && pads.every((count) => count >= 0),
      "Pad",
      `[${pads.join(", ")}] is not two counts for each axis of ${formatShape(x!.shape)}`,
    );
    const shape = x!.shape.map((size, axis) => {
      const added = pads[axis]! + pads[axis + rank]!;
      if (added === 0) return size;
      expect(typeof size === "number", "Pad", `axis ${axis} (${size}) has no fixed size`);
      return size + added;
    });
    return [{ dtype: x!.dtype, shape }];
  },
  gradients: [
    (g, { inputs: [x], attributes: { pads } }) => {
      let result = g;
      for (const [axis, size] of x!.shape.entries()) {
        if (g.shape[axis] === size) continue;
        result = slice(result, axis, pads[axis]!, pads[axis]! + (size as number));
      }
      return result;
    },
  ],
  reference([x], { pads }) {
    const rank = x!.shape.length;
    const shape = x!.shape.map((size, axis) => size + pads[axis]! + pads[axis + rank]!);
    return [
      value(x!.dtype, shape, (i) => {
        const position = positionOf(i, shape).map((at, axis) => at - pads[axis]!);
        const inside = position.every((at, axis) => at >= 0 && at < x!.shape[axis]!);
        return inside ? x!.data[indexOf(position, x!.shape)]! : 0;
      }),
    ];
  },
};

/** Joins tensors end to end along an axis. */
export const Concat: Operator<{ readonly axis: number }> = {
  name: "Concat",
  attributes: { axis: "int" },
  infer(inputs, { axis }) {
    const dtype = sameDType(inputs, "Concat");
    const first = inputs[0]!.shape;
    for (const { shape } of inputs) {
      const both = `${formatShape(first)} and ${formatShape(shape)} do not join along axis ${axis}`;
      expect(shape.length === first.length, "Concat", `${both}: one has more axes`);
      for (const [i, size] of shape.entries()) {
        if (i === axis) {
          const fixed = typeof size === "number" || inputs.length === 1;
          expect(fixed, "Concat", `${both}: that axis (${size}) needs a fixed size`);
        } else {
          const known = first[i]!;
          const why = `axis ${i} is ${known} in one and ${size} in the other`;
          expect(size === known, "Concat", `${both}: ${why}`);
        }
      }
    }
    const total = inputs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
    return [{ dtype, shape: first.map((size, i) => (i === axis ? total : size)) }];
  },
  gradients:
    (place): GradientRule<{ readonly axis: number }> =>
    (g, { inputs, attributes: { axis } }) => {
      const size = (x: Tensor) => x.shape[axis] as number;
      const start = inputs.slice(0, place).reduce((sum, x) => sum + size(x), 0);
      return slice(g, axis, start, start + size(inputs[place]!));
    },
  reference(inputs, { axis }) {
    const shape = [...inputs[0]!.shape];
    shape[axis] = inputs.reduce((sum, x) => sum + x.shape[axis]!, 0);
    return [
      value(inputs[0]!.dtype, shape, (i) => {
        const position = positionOf(i, shape);
        let from = 0;
        while (position[axis]! >= inputs[from]!.shape[axis]!) {
          position[axis]! -= inputs[from]!.shape[axis]!;
          from++;
        }
        return inputs[from]!.data[indexOf(position, inputs[from]!.shape)]!;
      }),
    ];
  },
};

// --- What model code calls

/** The same elements in another shape; one size may be -1, meaning whatever is left. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const open = shape.indexOf(-1);
  if (open >= 0) {
    const known = product(shape.filter((_, axis) => axis !== open));
    return reshape(
      x,
      shape.map((dim, axis) => (axis === open ? quotient(x, known) : dim)),
    );
  }
  if (x.shape.length === shape.length && shape.every((dim, axis) => dim === x.shape[axis])) {
    return x;
  }
  return apply(Reshape, [x], { shape });
}

/** What multiplies `known` to the number of elements of `x`. */
function quotient(x: Tensor, known: string | number): string | number {
  const split = (dim: string | number) => {
    const factors = String(dim).split("*");
    const names = factors.filter((factor) => !/^\d+$/.test(factor));
    return { count: Number(factors.find((factor) => /^\d+$/.test(factor)) ?? 1), names };
  };
  const whole = split(product(x.shape));
  const part = split(known);
  for (const name of part.names) {
    const at = whole.names.indexOf(name);
    expect(at >= 0, "reshape", `${formatShape(x.shape)} cannot be divided by ${known}`);
    whole.names.splice(at, 1);
  }
  const count = whole.count / part.count;
  expect(
    Number.isInteger(count),
    "reshape",
    `${formatShape(x.shape)} is not a multiple of ${known}`,
  );
  return product([count, ...whole.names]);
}

/** Reorders the axes: axis i of the result is axis `perm[i]` of `x`. */
export function transpose(x: Tensor, perm: readonly number[]): Tensor {
  const { source } = x;
  if (source.kind === "node" && source.node.operator === Transpose) {
    // Two in a row are one, and often none: gradients of matrix products undo each other's.
    const first = source.node.attributes.perm as readonly number[];
    return transpose(
      source.node.inputs[0]!,
      perm.map((axis) => first[axis]!),
    );
  }
  return perm.every((axis, i) => axis === i) && perm.length === x.rank
    ? x
    : apply(Transpose, [x], { perm });
}

/** Exchanges the last two axes. */
export function matrixTranspose(x: Tensor): Tensor {
  const perm = x.shape.map((_, axis) => axis);
  expect(perm.length >= 2, "matrixTranspose", `${formatShape(x.shape)} has no two axes`);
  perm.push(...perm.splice(-2, 1));
  return transpose(x, perm);
}

/** The elements from `start` up to `end` along one axis; negative numbers count from the end. */
export function slice(x: Tensor, axis: number, start: number, end?: number): Tensor {
  const at = normalizeAxis(axis, x.rank, "slice");
  const size = x.shape[at]!;
  expect(
    typeof size === "number",
    "slice",
    `axis ${axis} of ${formatShape(x.shape)} has no fixed size`,
  );
  const fromFront = (index: number) => (index < 0 ? index + size : index);
  const attributes = { starts: [fromFront(start)], ends: [fromFront(end ?? size)], axes: [at] };
  if (attributes.starts[0] === 0 && attributes.ends[0] === size) return x;
  return apply(Slice, [x], attributes);
}

/** Cuts an axis into `count` equal pieces. */
export function chunk(x: Tensor, count: number, axis: number): Tensor[] {
  const size = x.shape[normalizeAxis(axis, x.rank, "chunk")]!;
  expect(
    typeof size === "number" && size % count === 0,
    "chunk",
    `axis ${axis} (${size}) of ${formatShape(x.shape)} does not divide by ${count}`,
  );
  const split = Array.from({ length: count }, () => size / count);
  return [...applyAll(Split, [x], { split, axis: normalizeAxis(axis, x.rank, "chunk") })];
}

/** Adds zeros before and after each axis. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[]): Tensor {
  const pads = [...before, ...after];
  return pads.every((count) => count === 0) ? x : apply(Pad, [x], { pads });
}

/** Joins tensors end to end along an axis. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  expect(tensors.length > 0, "concat", "there is nothing to join");
  if (tensors.length === 1) return tensors[0]!;
  return apply(Concat, tensors, { axis: normalizeAxis(axis, tensors[0]!.rank, "concat") });
}
