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
  slice,
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
  /** How many tokens, from the first on, are wanted of the result; default all. */
  readonly wanted?: number | undefined;
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

  /** [B, T, D] to [B, T, D], or to as many tokens as are wanted. */
  call(x: Tensor, { mask, rotary, wanted }: AttentionInputs = {}): Tensor {
    const [batch, length] = x.shape as [number, number];
    const results = wanted ?? length;
    // The weights are cut in three rather than their larger product.
    const weights = chunk(this.#qkv, 3, 0);
    const queries = this.#perHead(slice(x, 1, 0, results), weights[0]!, rotary);
    const keys = this.#perHead(x, weights[1]!, rotary);
    const values = this.#perHead(x, weights[2]!, rotary);

    const scaled = mul(queries, this.#dimHead ** -0.5);
    const scores = matmul(scaled, matrixTranspose(keys)); // [B, H, wanted, T]
    const visible = this.#visible(batch, length, results, mask);
    const attention = softmax(visible ? where(visible, scores, HIDDEN) : scores);

    const mixed = transpose(matmul(attention, values), [0, 2, 1, 3]); // [B, wanted, H, D/H]
    const joined = reshape(mixed, [batch, results, this.#heads * this.#dimHead]);
    return this.#norm.call(linear(joined, this.#out));
  }

  /** [B, T, D] to [B, H, T, D/H] */
  #perHead(x: Tensor, weight: Tensor, rotary: Tensor | undefined): Tensor {
    const [batch, length] = x.shape as [number, number];
    const split = reshape(linear(x, weight), [batch, length, this.#heads, this.#dimHead]);
    const perHead = transpose(split, [0, 2, 1, 3]);
    return rotary ? rotate(perHead, slice(rotary, 0, 0, length)) : perHead;
  }

  /** Which keys each query may see, broadcasting against [B, H, wanted, T]; undefined: all. */
  #visible(
    batch: number,
    length: number,
    wanted: number,
    mask: Tensor | undefined,
  ): Tensor | undefined {
    if (mask && (mask.rank !== 2 || mask.shape[0] !== batch || mask.shape[1] !== length)) {
      throw new Error(
        `attention: the mask must be [B, T] = [${batch}, ${length}], is ${formatShape(mask.shape)}` +
          `${mask.shape[1] === length - 1 ? "; does it leave out the CLS token?" : ""}`,
      );
    }
    const keys = mask && reshape(mask, [batch, 1, 1, length]);
    if (!this.#causal) return keys;
    const past = constant(
      Array.from({ length: wanted * length }, (_, i) => Number(i % length <= i / length)),
      [wanted, length],
      "bool",
    );
    return keys ? and(keys, past) : past;
  }
}
