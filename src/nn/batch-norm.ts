import { add, batchNorm, div, formatShape, mul, sqrt, sub, type Tensor } from "../graph/index.js";
import type { BufferUpdates } from "./buffer-updates.js";
import type { Scope } from "./parameters.js";

/** How far each batch moves the running statistics; torch's default. */
const MOMENTUM = 0.1;
const EPSILON = 1e-5;

/**
 * Batch normalisation of rows (Ioffe and Szegedy, 2015): by the batch's own statistics in training, by
 * running ones in evaluation. As torch's `BatchNorm1d`: momentum 0.1, epsilon 1e-5, and the running
 * variance is the unbiased one.
 */
export class BatchNorm {
  readonly #affine: { readonly gain: Tensor; readonly bias: Tensor } | undefined;
  readonly #mean: Tensor;
  readonly #variance: Tensor;
  readonly #count: Tensor;

  /** @param options.affine whether a gain and a bias are learnt; default true. */
  constructor(scope: Scope, width: number, { affine = true }: { readonly affine?: boolean } = {}) {
    this.#affine = affine
      ? {
          gain: scope.parameter("weight", [width], { kind: "constant", value: 1 }),
          bias: scope.parameter("bias", [width], { kind: "constant", value: 0 }),
        }
      : undefined;
    this.#mean = scope.buffer("running_mean", [width], new Float32Array(width));
    this.#variance = scope.buffer("running_var", [width], new Float32Array(width).fill(1));
    this.#count = scope.buffer("num_batches_tracked", [], new Float32Array(1), "I64");
  }

  /**
   * [N, D] to [N, D].
   *
   * @param updates takes the running statistics after this batch, which must be of a fixed size of at
   *   least 2: training. Without it: evaluation.
   */
  call(x: Tensor, updates?: BufferUpdates): Tensor {
    if (updates === undefined) {
      const centred = sub(x, this.#mean);
      const normal = div(centred, sqrt(add(this.#variance, EPSILON)));
      return this.#affine ? add(mul(normal, this.#affine.gain), this.#affine.bias) : normal;
    }
    const rows = x.shape[0];
    if (typeof rows !== "number" || rows < 2) {
      throw new Error(
        `batch norm: training needs a fixed number of rows, at least 2, to tell their variance from; ` +
          `got ${formatShape(x.shape)}`,
      );
    }
    const { output, mean, variance } = batchNorm(x, { ...this.#affine, epsilon: EPSILON });
    const average = (buffer: Tensor, value: Tensor, weight: number) =>
      updates.write(buffer, add(mul(updates.read(buffer), 1 - MOMENTUM), mul(value, weight)));
    average(this.#mean, mean, MOMENTUM);
    average(this.#variance, variance, (MOMENTUM * rows) / (rows - 1));
    updates.write(this.#count, add(updates.read(this.#count), 1));
    return output;
  }
}
