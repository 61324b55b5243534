import { formatShape, normalizeAxis, product } from "../shape.js";
import { apply, applyAll, constant, type Operator, type Tensor } from "../tensor.js";
import { indexOf, positionOf, value } from "../value.js";
import { cast, equal } from "./elementwise.js";
import { matmul } from "./matmul.js";
import { matrixTranspose, reshape, transpose } from "./movement.js";
import { expect, staticShape } from "./operator.js";
import { expand, expandLike } from "./reduction.js";

/**
 * Up to this many rows, the gradient of gathering them is a product with a one-hot matrix: it is faster
 * than scattering, whose kernel adds one element after another.
 */
const ONE_HOT_ROWS = 512;

/** An index into an axis. Throws where it lies outside, as ONNX Runtime does. */
function inside(index: number, size: number, name: string): number {
  expect(index >= 0 && index < size, name, `index ${index} is outside an axis of ${size}`);
  return index;
}

function expectIndices(dtype: string, name: string): void {
  expect(
    dtype === "int32" || dtype === "int64",
    name,
    `indices must be int32 or int64, are ${dtype}`,
  );
}

/** Picks whole slices along an axis: `data[..., indices, ...]`. Indices count from the front. */
export const Gather: Operator<{ readonly axis: number }> = {
  name: "Gather",
  attributes: { axis: "int" },
  infer([data, indices], { axis }) {
    expectIndices(indices!.dtype, "Gather");
    const shape = [...data!.shape];
    shape.splice(axis, 1, ...(indices!.shape as number[]));
    return [{ dtype: data!.dtype, shape }];
  },
  gradients: [
    (g, { inputs: [data, indices], attributes: { axis } }) => {
      // The gathered axis comes to the front, where rows can be added up.
      const width = indices!.rank;
      const gatheredAxes = Array.from({ length: width }, (_, i) => axis + i);
      const otherAxes = g.shape.map((_, i) => i).filter((i) => !gatheredAxes.includes(i));
      const front = transpose(g, [...gatheredAxes, ...otherAxes]);
      const rest = data!.shape.filter((_, i) => i !== axis);
      const size = data!.shape[axis]!;
      const count = product(indices!.shape);
      const rows = reshape(front, [count, product(rest)]);
      const table = scatterRows(rows, reshape(indices!, [count, 1]), size as number);
      const back = data!.shape.map((_, i) => (i === axis ? 0 : i < axis ? i + 1 : i));
      return transpose(reshape(table, [size, ...rest]), back);
    },
    null,
  ],
  reference([data, indices], { axis }) {
    const shape = [...data!.shape];
    shape.splice(axis, 1, ...indices!.shape);
    return [
      value(data!.dtype, shape, (i) => {
        const position = positionOf(i, shape);
        const at = position.splice(axis, indices!.shape.length);
        const index = indices!.data[indexOf(at, indices!.shape)]!;
        position.splice(axis, 0, inside(index, data!.shape[axis]!, "Gather"));
        return data!.data[indexOf(position, data!.shape)]!;
      }),
    ];
  },
};

/** Picks single elements along an axis: the result has the shape of `indices`. */
export const GatherElements: Operator<{ readonly axis: number }> = {
  name: "GatherElements",
  attributes: { axis: "int" },
  infer([data, indices], { axis }) {
    expectIndices(indices!.dtype, "GatherElements");
    expect(
      data!.shape.length === indices!.shape.length &&
        data!.shape.every((size, i) => i === axis || size === indices!.shape[i]),
      "GatherElements",
      `indices ${formatShape(indices!.shape)} must match data ${formatShape(data!.shape)} ` +
        `in every axis but ${axis}`,
    );
    return [{ dtype: data!.dtype, shape: indices!.shape }];
  },
  gradients: [
    (g, { inputs: [data, indices], attributes: { axis } }) => {
      const base = zeros(staticShape(data!.shape, "GatherElements' gradient"), g);
      return apply(ScatterElements, [base, indices!, g], { axis, reduction: "add" });
    },
    null,
  ],
  reference([data, indices], { axis }) {
    return [
      value(data!.dtype, indices!.shape, (i) => {
        const position = positionOf(i, indices!.shape);
        position[axis] = inside(indices!.data[i]!, data!.shape[axis]!, "GatherElements");
        return data!.data[indexOf(position, data!.shape)]!;
      }),
    ];
  },
};

/** Adds single elements into a copy of `data`; the opposite of {@link GatherElements}. */
export const ScatterElements: Operator<{ readonly axis: number; readonly reduction: string }> = {
  name: "ScatterElements",
  attributes: { axis: "int", reduction: "string" },
  infer([data, indices, updates], { reduction }) {
    expectIndices(indices!.dtype, "ScatterElements");
    expect(reduction === "add", "ScatterElements", `only adds, cannot ${reduction}`);
    expect(
      formatShape(indices!.shape) === formatShape(updates!.shape),
      "ScatterElements",
      `indices ${formatShape(indices!.shape)} and updates ${formatShape(updates!.shape)} differ`,
    );
    return [{ dtype: data!.dtype, shape: data!.shape }];
  },
  gradients: [
    (g) => g,
    null,
    (g, { inputs: [, indices], attributes: { axis } }) => gatherElements(g, indices!, axis),
  ],
  reference([data, indices, updates], { axis }) {
    const result = value(data!.dtype, data!.shape, (i) => data!.data[i]!);
    for (let i = 0; i < updates!.data.length; i++) {
      const position = positionOf(i, updates!.shape);
      position[axis] = inside(indices!.data[i]!, data!.shape[axis]!, "ScatterElements");
      result.data[indexOf(position, data!.shape)]! += updates!.data[i]!;
    }
    return [result];
  },
};

/** The `k` largest along an axis, in falling order, and where they stood (int64). */
export const TopK: Operator<{ readonly k: readonly number[]; readonly axis: number }> = {
  name: "TopK",
  attributes: { k: "intsInput", axis: "int" },
  infer([x], { k: [k], axis }) {
    const size = x!.shape[axis]!;
    expect(
      typeof size !== "number" || k! <= size,
      "TopK",
      `asks for ${k} of the ${size} elements along axis ${axis} of ${formatShape(x!.shape)}`,
    );
    const shape = x!.shape.map((dim, i) => (i === axis ? k! : dim));
    return [
      { dtype: x!.dtype, shape },
      { dtype: "int64", shape },
    ];
  },
  gradients: [
    (g, { inputs: [x], outputs: [, indices], attributes: { axis } }) => {
      const base = zeros(staticShape(x!.shape, "TopK's gradient"), g);
      return apply(ScatterElements, [base, indices!, g], { axis, reduction: "add" });
    },
  ],
  reference([x], { k: [k], axis }) {
    const shape = x!.shape.map((size, i) => (i === axis ? k! : size));
    const values = value(x!.dtype, shape);
    const indices = value("int64", shape);
    for (let i = 0; i < values.data.length; i++) {
      const position = positionOf(i, shape);
      const rank = position[axis]!;
      const at = (index: number) => {
        position[axis] = index;
        return x!.data[indexOf(position, x!.shape)]!;
      };
      const order = Array.from({ length: x!.shape[axis]! }, (_, index) => index);
      order.sort((a, b) => at(b) - at(a) || a - b);
      values.data[i] = at(order[rank]!);
      indices.data[i] = order[rank]!;
    }
    return [values, indices];
  },
};

/**
 * Adds up rows [N, D] into a table [size, D] at the places given by indices [N, 1].
 *
 * ScatterND would be the natural operator, but on several threads ONNX Runtime adds rows of one place
 * in changing order, and training could not be repeated to the last bit.
 */
function scatterRows(rows: Tensor, indices: Tensor, size: number): Tensor {
  if (size <= ONE_HOT_ROWS) {
    const places = constant(
      Array.from({ length: size }, (_, i) => i),
      [1, size],
      indices.dtype,
    );
    return matmul(matrixTranspose(cast(equal(indices, places), rows.dtype)), rows);
  }
  const base = zeros(staticShape([size, rows.shape[1]!], "Gather's gradient"), rows);
  return apply(ScatterElements, [base, expandLike(indices, rows), rows], {
    axis: 0,
    reduction: "add",
  });
}

// --- What model code calls

/** Zeros of a shape, of the type of `like`. */
export function zeros(shape: readonly number[], like: Tensor): Tensor {
  return expand(constant(0, [], like.dtype), shape);
}

/** Whole slices of `data` along an axis, chosen by `indices`. */
export function gather(data: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply(Gather, [data, indices], { axis: normalizeAxis(axis, data.rank, "gather") });
}

/** Single elements of `data` along an axis, chosen by `indices`. */
export function gatherElements(data: Tensor, indices: Tensor, axis: number): Tensor {
  return apply(GatherElements, [data, indices], {
    axis: normalizeAxis(axis, data.rank, "gatherElements"),
  });
}

/** The `k` largest along an axis, in falling order, and their indices (int64). */
export function topK(x: Tensor, k: number, axis = -1): { values: Tensor; indices: Tensor } {
  const [values, indices] = applyAll(TopK, [x], {
    k: [k],
    axis: normalizeAxis(axis, x.rank, "topK"),
  });
  return { values: values!, indices: indices! };
}

/** Rows of a table: `table[indices]`, for a table of shape [V, D]. Its gradient is scattered back. */
export function embedding(table: Tensor, indices: Tensor): Tensor {
  return gather(table, indices, 0);
}
