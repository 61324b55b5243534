import {
  cast,
  constant,
  crossEntropy,
  equal,
  formatShape,
  gatherElements,
  linear,
  matmul,
  not,
  reshape,
  type Tensor,
  topK,
} from "../graph/index.js";
import { fanIn, type Scope } from "../nn/index.js";
import { maskedCount } from "./mlm-options.js";

/** Options of {@link MaskedLanguageModel}. */
export interface MaskedLanguageModelOptions {
  /** Width D of the text encoder. */
  readonly width: number;
  /** Size of the vocabulary. */
  readonly numTokens: number;
  /** Part of a text's positions that may be labelled, in (0, 1]; rounded up to whole positions. */
  readonly maskProb: number;
  /** The label of positions that are not asked for. */
  readonly ignoreId: number;
}

/** Guesses masked tokens from what the text encoder makes of their surroundings (Devlin et al., 2018). */
export class MaskedLanguageModel {
  readonly #options: MaskedLanguageModelOptions;
  readonly #weight: Tensor;
  readonly #bias: Tensor;

  constructor(scope: Scope, options: MaskedLanguageModelOptions) {
    this.#options = options;
    const { width, numTokens } = options;
    this.#weight = scope.linear("to_logits", numTokens, width);
    this.#bias = scope.parameter("to_logits.bias", [numTokens], fanIn(width));
  }

  /**
   * Mean cross entropy of the labelled tokens, a scalar; zero, with zero gradients, if there are none.
   *
   * @param encoded [B, T, D]: the masked texts encoded, without CLS; B and T are fixed.
   * @param labels int32 [B, T]: the true tokens, and `ignoreId` where none is asked for. A row has at
   *   most `maskProb` T labels, rounded up.
   */
  loss(encoded: Tensor, labels: Tensor): Tensor {
    const { ignoreId, maskProb, numTokens } = this.#options;
    const [batch, length] = encoded.shape;
    if (
      typeof batch !== "number" ||
      typeof length !== "number" ||
      encoded.rank !== 3 ||
      labels.shape.join() !== [batch, length].join()
    ) {
      throw new Error(
        "masked language modelling needs encodings [B, T, D] and labels [B, T] of fixed sizes: " +
          `they are ${formatShape(encoded.shape)} and ${formatShape(labels.shape)}`,
      );
    }
    // Logits are wide: only positions that can be labelled get any. Rows with fewer labels fill up with
    // others, which cross entropy ignores.
    const most = maskedCount(length, maskProb); // K
    const labelled = not(equal(labels, ignoreId));
    const { indices } = topK(cast(labelled, "float32"), most); // [B, K]
    const positions = constant([...Array(length).keys()], [1, 1, length], indices.dtype);
    // A product with a one-hot matrix, whose gradient is one too, where gathering's would scatter.
    const chosen = equal(reshape(indices, [batch, most, 1]), positions); // [B, K, T]
    const hidden = matmul(cast(chosen, encoded.dtype), encoded); // [B, K, D]
    const logits = linear(hidden, this.#weight, this.#bias);
    return crossEntropy(
      reshape(logits, [batch * most, numTokens]),
      reshape(gatherElements(labels, indices, 1), [batch * most]),
      ignoreId,
    );
  }
}
