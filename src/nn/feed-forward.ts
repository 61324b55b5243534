import { chunk, gelu, linear, mul, type Tensor } from "../graph/index.js";
import { LayerNorm } from "./layer-norm.js";
import type { Scope } from "./parameters.js";

/** Gated GELU (Shazeer, 2020): the first half of the last axis, times the GELU of the second. */
export function geglu(x: Tensor): Tensor {
  const [content, gate] = chunk(x, 2, -1);
  return mul(content!, gelu(gate!));
}

/** Linear, GEGLU, LayerNorm, Linear; no biases. The inner width is `mult` times the outer. */
export class FeedForward {
  readonly #expand: Tensor;
  readonly #norm: LayerNorm;
  readonly #contract: Tensor;

  constructor(scope: Scope, width: number, mult = 4) {
    const inner = Math.trunc(width * mult);
    this.#expand = scope.linear("net.0", inner * 2, width);
    this.#norm = new LayerNorm(scope.child("net.2"), inner);
    this.#contract = scope.linear("net.4", width, inner);
  }

  /** [B, T, D] to [B, T, D] */
  call(x: Tensor): Tensor {
    // geglu(linear(x, weight)), but it is the weights that are cut in two, not the larger product.
    const [content, gate] = chunk(this.#expand, 2, 0);
    const gated = mul(linear(x, content!), gelu(linear(x, gate!)));
    return linear(this.#norm.call(gated), this.#contract);
  }
}
