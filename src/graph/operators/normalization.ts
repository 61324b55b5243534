import { isFloat } from "../dtype.js";
import { formatShape, normalizeAxis } from "../shape.js";
import { apply, applyAll, type Operator, type Tensor } from "../tensor.js";
import { positionOf, strides, value } from "../value.js";
import { add, div, mul, sub } from "./elementwise.js";
import { matmul } from "./matmul.js";
import { reshape } from "./movement.js";
import { expect, expectType, sameDType } from "./operator.js";
import { expandLike, sum } from "./reduction.js";

/** exp(x) / sum exp(x) along an axis, computed from the maximum down. */
export const Softmax: Operator<{ readonly axis: number }> = {
  name: "Softmax",
  attributes: { axis: "int" },
  infer([x]) {
    expectType(isFloat, x!.dtype, "softmax");
    return [{ dtype: x!.dtype, shape: x!.shape }];
  },
  gradients: [
    (g, { outputs: [y], attributes: { axis } }) => {
      const weighted = mul(g, y!);
      return sub(weighted, mul(y!, sum(weighted, axis, true)));
    },
  ],
  reference([x], { axis }) {
    const result = value(x!.dtype, x!.shape);
    const step = strides(x!.shape)[axis]!;
    const size = x!.shape[axis]!;
    for (let start = 0; start < x!.data.length; start++) {
      if (positionOf(start, x!.shape)[axis] !== 0) continue;
      let top = -Infinity;
      let total = 0;
      for (let i = 0; i < size; i++) top = Math.max(top, x!.data[start + i * step]!);
      for (let i = 0; i < size; i++) total += Math.exp(x!.data[start + i * step]! - top);
      for (let i = 0; i < size; i++) {
        result.data[start + i * step] = Math.exp(x!.data[start + i * step]! - top) / total;
      }
    }
    return [result];
  },
};

/**
 * (x - mean) / sqrt(variance + epsilon) * gain along the last axis, with the biased variance. Also
 * gives the mean and the reciprocal standard deviation of each row, which gradients need.
 */
export const LayerNormalization: Operator<{ readonly axis: number; readonly epsilon: number }> = {
  name: "LayerNormalization",
  attributes: { axis: "int", epsilon: "float" },
  infer([x, gain]) {
    const width = x!.shape.at(-1)!;
    expect(
      gain!.shape.length === 1 && gain!.shape[0] === width,
      "layerNorm",
      `the gain must be [${width}] for ${formatShape(x!.shape)}, is ${formatShape(gain!.shape)}`,
    );
    const dtype = sameDType([x!, gain!], "layerNorm");
    expectType(isFloat, dtype, "layerNorm");
    const row = { dtype, shape: [...x!.shape.slice(0, -1), 1] };
    return [{ dtype, shape: x!.shape }, row, row];
  },
  gradients: [
    (_, { inputs: [x, gain], outputs: [, average, scale], gradients }) => {
      const [gOutput, gMean, gScale] = gradients;
      const width = x!.shape.at(-1) as number;
      const centred = sub(x!, average!);
      const parts: Tensor[] = [];
      if (gOutput) {
        // Means over a row of something times the gain are products with it as a column, which read
        // the large tensors once and write none.
        const column = reshape(div(gain!, width), [width, 1]);
        const direct = sub(mul(gOutput, gain!), matmul(gOutput, column));
        const along = mul(matmul(mul(gOutput, centred), column), mul(scale!, scale!));
        parts.push(mul(sub(direct, mul(centred, along)), scale!));
      }
      if (gMean) parts.push(expandLike(div(gMean, width), x!));
      if (gScale) {
        const cubed = mul(scale!, mul(scale!, scale!));
        parts.push(mul(centred, mul(div(gScale, -width), cubed)));
      }
      return parts.reduce((a, b) => add(a, b));
    },
    (g, { inputs: [x], outputs: [, average, scale] }) => {
      // The sum over all rows, each times its scale, is a product with the scales as a row.
      const width = x!.shape.at(-1)!;
      const rows = reshape(mul(g, sub(x!, average!)), [-1, width]);
      return reshape(matmul(reshape(scale!, [1, -1]), rows), [width]);
    },
  ],
  reference([x, gain], { epsilon }) {
    const width = x!.shape.at(-1)!;
    const rows = x!.data.length / width;
    const rowShape = [...x!.shape.slice(0, -1), 1];
    const output = value(x!.dtype, x!.shape);
    const averages = value(x!.dtype, rowShape);
    const scales = value(x!.dtype, rowShape);
    for (let row = 0; row < rows; row++) {
      const cells = x!.data.subarray(row * width, (row + 1) * width);
      const average = cells.reduce((a, b) => a + b, 0) / width;
      const variance = cells.reduce((a, b) => a + (b - average) ** 2, 0) / width;
      const scale = 1 / Math.sqrt(variance + epsilon);
      averages.data[row] = average;
      scales.data[row] = scale;
      for (let i = 0; i < width; i++) {
        output.data[row * width + i] = (cells[i]! - average) * scale * gain!.data[i]!;
      }
    }
    return [output, averages, scales];
  },
};

/** exp(x) / sum exp(x) along an axis. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return apply(Softmax, [x], { axis: normalizeAxis(axis, x.rank, "softmax") });
}

/** Layer normalisation over the last axis with a gain and no bias (Ba et al., 2016). */
export function layerNorm(x: Tensor, gain: Tensor, epsilon = 1e-5): Tensor {
  return applyAll(LayerNormalization, [x, gain], { axis: x.rank - 1, epsilon })[0]!;
}
