/** Functions composed of operators; they differentiate through their parts. */
import {
  add,
  cast,
  detach,
  div,
  equal,
  exp,
  gatherElements,
  log,
  matmul,
  matrixTranspose,
  max,
  maximum,
  mean,
  mul,
  not,
  type Operand,
  reshape,
  sqrt,
  sub,
  sum,
  where,
} from "./operators/index.js";
import { formatShape, normalizeAxis, sameShape } from "./shape.js";
import type { Tensor } from "./tensor.js";

/** x W^T + b, with W of shape [out, in] as torch.nn.Linear keeps it. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  if (weight.rank !== 2 || x.shape.at(-1) !== weight.shape[1]) {
    throw new Error(
      `linear: the last axis of ${formatShape(x.shape)} must equal the second of the weights ` +
        `[out, in] ${formatShape(weight.shape)}`,
    );
  }
  const out = weight.shape[0]!;
  if (bias !== undefined && !sameShape(bias.shape, [out])) {
    throw new Error(`linear: the bias must be [${out}], is ${formatShape(bias.shape)}`);
  }
  const product = matmul(x, matrixTranspose(weight));
  return bias === undefined ? product : add(product, bias);
}

/** `value` where the mask holds, else `x`. */
export function maskedFill(x: Tensor, mask: Tensor, value: Operand): Tensor {
  return where(mask, value, x);
}

/**
 * The mean along `axis` over elements whose mask holds. Where none does, the result is zero: `epsilon`
 * keeps the quotient finite. The mask broadcasts to `x` in every other axis.
 */
export function maskedMean(x: Tensor, mask: Tensor, axis: number, epsilon = 1e-6): Tensor {
  // Counted from the end, since the mask may have fewer axes.
  const at = normalizeAxis(axis, x.rank, "maskedMean") - x.rank;
  if (mask.shape.at(at) !== x.shape.at(at)) {
    throw new Error(
      `maskedMean: the mask ${formatShape(mask.shape)} must be as long as ${formatShape(x.shape)} ` +
        `along axis ${axis}`,
    );
  }
  const count = sum(cast(mask, x.dtype), at);
  return div(sum(maskedFill(x, not(mask), 0), axis), maximum(count, epsilon));
}

/** log sum exp along an axis, computed from the maximum down so that it never overflows. */
export function logSumExp(x: Tensor, axis = -1, keepDims = false): Tensor {
  // The maximum cancels out of the value, so it needs no gradient.
  const top = detach(max(x, axis, true));
  const result = add(log(sum(exp(sub(x, top)), axis, true)), top);
  const at = axis < 0 ? axis + x.rank : axis;
  return keepDims
    ? result
    : reshape(
        result,
        x.shape.filter((_, i) => i !== at),
      );
}

/** log softmax along an axis. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return sub(x, logSumExp(x, axis, true));
}

/**
 * Mean cross entropy of logits [N, C] against labels [N] (int32 or int64). Rows labelled `ignoreIndex`
 * count for nothing; if all are, the loss is zero.
 */
export function crossEntropy(logits: Tensor, labels: Tensor, ignoreIndex?: number): Tensor {
  const column = reshape(labels, [labels.shape[0]!, 1]);
  const losses = (index: Tensor) =>
    reshape(sub(logSumExp(logits, -1, true), gatherElements(logits, index, 1)), labels.shape);
  if (ignoreIndex === undefined) return mean(losses(column), 0);
  const counted = not(equal(labels, ignoreIndex));
  // An ignored label may lie outside the classes: read class 0 in its place.
  return maskedMean(losses(where(equal(column, ignoreIndex), 0, column)), counted, 0, 1);
}

/**
 * Scales vectors along the last axis to length 1. Vectors shorter than `epsilon` are divided by
 * `epsilon`, as torch's normalize does.
 */
export function l2norm(x: Tensor, epsilon = 1e-12): Tensor {
  // The bound is put under the root, where the gradient stays finite at zero. epsilon^2 = 1e-24 is
  // still far above the smallest float32.
  return div(x, sqrt(maximum(sum(mul(x, x), -1, true), epsilon ** 2)));
}

/** What {@link batchNorm} gives: the result, and the statistics to fold into running averages. */
export interface BatchNormResult {
  readonly output: Tensor;
  /** [C] */
  readonly mean: Tensor;
  /** [C], biased. */
  readonly variance: Tensor;
}

/** Batch normalisation of [N, C] by the batch's own statistics (Ioffe and Szegedy, 2015). */
export function batchNorm(
  x: Tensor,
  { gain, bias, epsilon = 1e-5 }: { gain?: Tensor; bias?: Tensor; epsilon?: number } = {},
): BatchNormResult {
  const average = mean(x, 0, true);
  const centred = sub(x, average);
  const variance = mean(mul(centred, centred), 0, true);
  let output = div(centred, sqrt(add(variance, epsilon)));
  if (gain) output = mul(output, gain);
  if (bias) output = add(output, bias);
  const channels = [x.shape[1]!];
  return { output, mean: reshape(average, channels), variance: reshape(variance, channels) };
}
