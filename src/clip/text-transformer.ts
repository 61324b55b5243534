import {
  add,
  concat,
  constant,
  embedding,
  expandLike,
  formatShape,
  reshape,
  slice,
  type Tensor,
} from "../graph/index.js";
import { RotaryEmbedding, type Scope, Transformer, type TransformerOptions } from "../nn/index.js";

/** Options of {@link TextTransformer}. */
export interface TextTransformerOptions extends TransformerOptions {
  readonly width: number;
  /** Size of the vocabulary. */
  readonly numTokens: number;
  /** Longest text, in tokens, by learnt positions; rotary ones have no end. */
  readonly maxSeqLen: number;
  /** Rotary instead of learnt positions; default false. */
  readonly rotaryPosEmb?: boolean;
}

/** Most features that rotary embeddings turn; x-clip's bound. */
const MAX_ROTATED = 32;

/** Token embeddings, positions, a CLS token in front unless causal, and a Transformer. */
export class TextTransformer {
  readonly #tokens: Tensor;
  readonly #positions: Tensor | undefined;
  readonly #rotary: RotaryEmbedding | undefined;
  readonly #cls: Tensor | undefined;
  readonly #transformer: Transformer;

  constructor(scope: Scope, options: TextTransformerOptions) {
    const { width, numTokens, maxSeqLen, rotaryPosEmb = false, ...transformer } = options;
    const { causal = false, dimHead = 64 } = transformer;
    this.#cls = causal
      ? undefined
      : scope.parameter("cls_token", [width], { kind: "normal", deviation: 1 });
    this.#tokens = scope.embedding("token_emb", numTokens, width);
    if (rotaryPosEmb) {
      this.#rotary = new RotaryEmbedding(scope.child("rotary_pos_emb"), rotatedWidth(dimHead));
    } else {
      this.#positions = scope.embedding("abs_pos_emb", maxSeqLen, width);
    }
    this.#transformer = new Transformer(scope.child("transformer"), width, transformer);
  }

  /**
   * Tokens int32 [B, T], with a mask bool [B, T] of those that count, to [B, 1 + T, D] with the CLS
   * token first, or [B, T, D] if causal. Learnt positions bound T by `maxSeqLen`.
   *
   * @param wanted how many tokens of the result are wanted, from the first on; default all.
   */
  call(tokens: Tensor, mask?: Tensor, wanted?: number): Tensor {
    const length = tokens.shape[1]!;
    const longest = (this.#positions?.shape[0] ?? Number.POSITIVE_INFINITY) as number;
    if (tokens.rank !== 2 || typeof length !== "number" || length > longest) {
      throw new Error(
        `text must be [B, T] with T at most ${longest}, is ${formatShape(tokens.shape)}`,
      );
    }
    let x = embedding(this.#tokens, tokens); // [B, T, D]
    if (this.#positions) x = add(x, slice(this.#positions, 0, 0, length));
    if (!this.#cls) {
      return this.#transformer.call(x, { mask, rotary: this.#rotary?.call(length), wanted });
    }
    // CLS comes after the position embeddings: it has none.
    const width = x.shape[2] as number;
    const cls = expandLike(reshape(this.#cls, [1, 1, width]), slice(x, 1, 0, 1));
    const seen = mask && concat([alwaysSeen(mask), mask], 1);
    return this.#transformer.call(concat([cls, x], 1), {
      mask: seen,
      rotary: this.#rotary?.call(length + 1),
      wanted,
    });
  }
}

/** How many features of a head rotary embeddings turn. */
export function rotatedWidth(dimHead: number): number {
  return Math.min(dimHead, MAX_ROTATED);
}

/** True [B, 1] for a mask [B, T]. */
function alwaysSeen(mask: Tensor): Tensor {
  return expandLike(constant(1, [1, 1], "bool"), slice(mask, 1, 0, 1));
}
