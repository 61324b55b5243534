import { add, slice, type Tensor } from "../graph/index.js";
import { Attention, type AttentionInputs, type AttentionOptions } from "./attention.js";
import { FeedForward } from "./feed-forward.js";
import { LayerNorm } from "./layer-norm.js";
import type { Scope } from "./parameters.js";

/** Options of {@link Transformer}. */
export interface TransformerOptions extends AttentionOptions {
  /** Number of layers. */
  readonly depth: number;
  /** Inner width of the feed-forward layers over the outer; default 4. */
  readonly ffMult?: number;
}

/** Pre-normalised attention and feed-forward layers with residuals, and a norm before and after. */
export class Transformer {
  readonly #layers: readonly {
    readonly attentionNorm: LayerNorm;
    readonly attention: Attention;
    readonly feedForwardNorm: LayerNorm;
    readonly feedForward: FeedForward;
  }[];
  readonly #normIn: LayerNorm;
  readonly #normOut: LayerNorm;

  constructor(scope: Scope, width: number, { depth, ffMult = 4, ...options }: TransformerOptions) {
    this.#layers = Array.from({ length: depth }, (_, i) => {
      const attention = scope.child(`layers.${i}.0`);
      const feedForward = scope.child(`layers.${i}.1`);
      return {
        attentionNorm: new LayerNorm(attention.child("norm"), width),
        attention: new Attention(attention.child("fn"), width, options),
        feedForwardNorm: new LayerNorm(feedForward.child("norm"), width),
        feedForward: new FeedForward(feedForward.child("fn"), width, ffMult),
      };
    });
    this.#normIn = new LayerNorm(scope.child("norm_in"), width);
    this.#normOut = new LayerNorm(scope.child("norm_out"), width);
  }

  /**
   * [B, T, D] to [B, T, D], or to as many tokens as are wanted. The last layer then computes no more
   * than those: it is the only one whose other tokens nobody sees.
   */
  call(x: Tensor, { wanted, ...inputs }: AttentionInputs = {}): Tensor {
    let hidden = this.#normIn.call(x);
    for (const [i, layer] of this.#layers.entries()) {
      const { attentionNorm, attention, feedForwardNorm, feedForward } = layer;
      const only = i === this.#layers.length - 1 ? wanted : undefined;
      const attended = attention.call(attentionNorm.call(hidden), { ...inputs, wanted: only });
      hidden = add(attended, only === undefined ? hidden : slice(hidden, 1, 0, only));
      hidden = add(feedForward.call(feedForwardNorm.call(hidden)), hidden);
    }
    return this.#normOut.call(hidden);
  }
}
