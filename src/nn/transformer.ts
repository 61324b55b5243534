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

/** What a transformer may be given beside its input. */
export interface TransformerInputs extends AttentionInputs {
  /**
   * Is told what each part gives, by x-clip's name for it: `norm_in`, attention `layers.0.0` and
   * feed-forward `layers.0.1` before they are added to the stream, and `norm_out`; and the stream after
   * a layer as `layers.0`, for which x-clip has none.
   */
  readonly onOutput?: ((name: string, output: Tensor) => void) | undefined;
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
  call(x: Tensor, { wanted, onOutput, ...inputs }: TransformerInputs = {}): Tensor {
    let hidden = this.#normIn.call(x);
    onOutput?.("norm_in", hidden);
    for (const [i, layer] of this.#layers.entries()) {
      const { attentionNorm, attention, feedForwardNorm, feedForward } = layer;
      const only = i === this.#layers.length - 1 ? wanted : undefined;
      const attended = attention.call(attentionNorm.call(hidden), { ...inputs, wanted: only });
      onOutput?.(`layers.${i}.0`, attended);
      hidden = add(attended, only === undefined ? hidden : slice(hidden, 1, 0, only));
      const fed = feedForward.call(feedForwardNorm.call(hidden));
      onOutput?.(`layers.${i}.1`, fed);
      hidden = add(fed, hidden);
      onOutput?.(`layers.${i}`, hidden);
    }
    const output = this.#normOut.call(hidden);
    onOutput?.("norm_out", output);
    return output;
  }
}
