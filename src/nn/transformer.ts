import { add, recompute, slice, type Tensor } from "../graph/index.js";
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
  /** Compute layers again for the backward pass rather than keep all they make; default false. */
  readonly checkpointDuringTraining?: boolean;
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

interface Layer {
  readonly attentionNorm: LayerNorm;
  readonly attention: Attention;
  readonly feedForwardNorm: LayerNorm;
  readonly feedForward: FeedForward;
}

/** Pre-normalised attention and feed-forward layers with residuals, and a norm before and after. */
export class Transformer {
  readonly #layers: readonly Layer[];
  readonly #normIn: LayerNorm;
  readonly #normOut: LayerNorm;
  readonly #recomputes: boolean;

  constructor(
    scope: Scope,
    width: number,
    { depth, ffMult = 4, checkpointDuringTraining = false, ...options }: TransformerOptions,
  ) {
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
    this.#recomputes = checkpointDuringTraining;
  }

  /**
   * [B, T, D] to [B, T, D], or to as many tokens as are wanted. The last layer then computes no more
   * than those: it is the only one whose other tokens nobody sees.
   */
  call(x: Tensor, { wanted, onOutput, ...inputs }: TransformerInputs = {}): Tensor {
    let hidden = this.#normIn.call(x);
    onOutput?.("norm_in", hidden);
    for (const [i, layer] of this.#layers.entries()) {
      const before = hidden;
      const only = i === this.#layers.length - 1 ? wanted : undefined;
      const compute = () =>
        callLayer(layer, before, {
          ...inputs,
          wanted: only,
          onOutput: (part, output) => onOutput?.(`layers.${i}.${part}`, output),
        });
      hidden = this.#recomputes ? recompute(compute) : compute();
      onOutput?.(`layers.${i}`, hidden);
    }
    const output = this.#normOut.call(hidden);
    onOutput?.("norm_out", output);
    return output;
  }
}

/** [B, T, D] to [B, T, D], or to as many tokens as are wanted; attention is part 0, feed-forward 1. */
function callLayer(layer: Layer, x: Tensor, { onOutput, ...inputs }: TransformerInputs): Tensor {
  const { attentionNorm, attention, feedForwardNorm, feedForward } = layer;
  const { wanted } = inputs;
  const attended = attention.call(attentionNorm.call(x), inputs);
  onOutput?.("0", attended);
  const hidden = add(attended, wanted === undefined ? x : slice(x, 1, 0, wanted));
  const fed = feedForward.call(feedForwardNorm.call(hidden));
  onOutput?.("1", fed);
  return add(fed, hidden);
}
