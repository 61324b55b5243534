import {
  and,
  chunk,
  constant,
  formatShape,
  linear,
  matmul,
  matrixTranspose,
  mul,
  reshape,
  softmax,
  type Tensor,
  transpose,
  where,
} from "../graph/index.js";
import { LayerNorm } from "./layer-norm.js";
import type { Scope } from "./parameters.js";
import { rotate } from "./rotary.js";

/** Options of {@link Attention}. */
export interface AttentionOptions {
  /** Number of heads H; default 8. */
  readonly heads?: number;
  /** Width of a head; default 64. */
  readonly dimHead?: number;
  /** Let a token see only itself and those before it; default false. */
  readonly causal?: boolean;
}

/** What an attention layer may be given beside its input. */
export interface AttentionInputs {
  /** bool [B, T]: which tokens may be seen. */
  readonly mask?: Tensor | undefined;
  /** [T, R] angles; queries, keys and values are all turned, as x-clip does. */
  readonly rotary?: Tensor | undefined;
}

/** Instead of minus infinity: a row with nothing to see then spreads its attention evenly. */
const HIDDEN = -3.4028234663852886e38;

/** Multi-head self-attention (Vaswani et al., 2017), then a linear layer and layer normalisation. */
export class Attention {
  readonly #heads: number;
  readonly #dimHead: number;
  readonly #causal: boolean;
  readonly #qkv: Tensor;
  readonly #out: Tensor;
  readonly #norm: LayerNorm;

  constructor(
    scope: Scope,
    width: number,
    { heads = 8, dimHead = 64, causal = false }: AttentionOptions = {},
  ) {
    this.#heads = heads;
    this.#dimHead = dimHead;
    this.#causal = causal;
    const inner = heads * dimHead;
    this.#qkv = scope.linear("to_qkv", inner * 3, width);
    this.#out = scope.linear("to_out.0", width, inner);
    this.#norm = new LayerNorm(scope.child("to_out.1"), width);
  }

  /** [B, T, D] to [B, T, D] */
  call(x: Tensor, { mask, rotary }: AttentionInputs = {}): Tensor {
    const [batch, length] = x.shape as [number, number];
    // The weights are cut in three rather than their larger product.
    const [queries, keys, values] = chunk(this.#qkv, 3, 0).map((weight) => {
      const split = reshape(linear(x, weight), [batch, length, this.#heads, this.#dimHead]);
      const perHead = transpose(split, [0, 2, 1, 3]); // [B, H, T, D/H]
      return rotary ? rotate(perHead, rotary) : perHead;
    });

    const scaled = mul(queries!, this.#dimHead ** -0.5);
    const scores = matmul(scaled, matrixTranspose(keys!)); // [B, H, T, T]
    const visible = this.#visible(batch, length, mask);
    const weights = softmax(visible ? where(visible, scores, HIDDEN) : scores);

    const mixed = transpose(matmul(weights, values!), [0, 2, 1, 3]); // [B, T, H, D/H]
    const joined = reshape(mixed, [batch, length, this.#heads * this.#dimHead]);
    return this.#norm.call(linear(joined, this.#out));
  }

  /** Which keys each query may see, broadcasting against [B, H, T, T]; undefined: all. */
  #visible(batch: number, length: number, mask: Tensor | undefined): Tensor | undefined {
    if (mask && (mask.rank !== 2 || mask.shape[0] !== batch || mask.shape[1] !== length)) {
      throw new Error(
        `attention: the mask must be [B, T] = [${batch}, ${length}], is ${formatShape(mask.shape)}` +
          `${mask.shape[1] === length - 1 ? "; does it leave out the CLS token?" : ""}`,
      );
    }
    const keys = mask && reshape(mask, [batch, 1, 1, length]);
    if (!this.#causal) return keys;
    const past = constant(
      Array.from({ length: length * length }, (_, i) => Number(i % length <= i / length)),
      [length, length],
      "bool",
    );
    return keys ? and(keys, past) : past;
  }
}
