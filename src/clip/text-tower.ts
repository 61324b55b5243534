import {
  concat,
  constant,
  equal,
  expandLike,
  formatShape,
  gatherElements,
  not,
  slice,
  type Tensor,
} from "../graph/index.js";
import type { Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import { eosFirst, eosPositions, gatherTokens } from "./eos.js";
import type { ResolvedClipOptions } from "./options.js";
import { type ClipParts, checkEncoded, comparedTokens, type TextEncoder } from "./parts.js";
import { TextTransformer } from "./text-transformer.js";

/** The text encoder, and which of its tokens count. */
export class TextTower {
  readonly #options: ResolvedClipOptions;
  readonly #encoder: TextEncoder;
  readonly #builtIn: boolean;

  constructor(scope: Scope, options: ResolvedClipOptions, custom: ClipParts["textEncoder"]) {
    this.#options = options;
    this.#builtIn = custom === undefined;
    this.#encoder =
      custom?.(scope, options) ??
      new TextTransformer(scope, {
        width: options.dimText,
        // Masked language modelling has a token of its own for what is masked.
        numTokens: options.numTextTokens + Number(options.useMlm),
        maxSeqLen: options.textSeqLen,
        rotaryPosEmb: options.textRotaryPosEmb,
        causal: options.textCausalMask,
        depth: options.textEncDepth,
        heads: options.textHeads,
        dimHead: options.textDimHead,
        checkpointDuringTraining: options.checkpointDuringTraining,
      });
  }

  /**
   * [B, 1 + T, D] with the CLS token first; with `textCausalMask` [B, T, D] with the end token first; what
   * an encoder of the user's gives as it is.
   *
   * @param wanted how many tokens are wanted, from the first on; default all.
   */
  encode(text: Tensor, wanted?: number): Tensor {
    const { textEosId, textCausalMask, textEncodeWithoutMask } = this.#options;
    const mask = textEncodeWithoutMask ? undefined : this.#words(text);
    if (!textCausalMask) return this.#checkTokens(this.#call(text, mask, wanted), text);
    const encoded = this.#checkTokens(this.#call(text, mask), text);
    const eos = eosPositions(text, textEosId!);
    return gatherTokens(encoded, wanted === 1 ? eos : eosFirst(text, eos));
  }

  /** Throws unless an encoder of the user's gives a token for each of the text's where those are asked for. */
  #checkTokens(encoded: Tensor, text: Tensor): Tensor {
    const { useAllTokenEmbeds, textHasClsToken, textCausalMask, dimText } = this.#options;
    const needsTokens = textCausalMask || (useAllTokenEmbeds && encoded.rank === 3);
    if (this.#builtIn || !needsTokens) return encoded;
    const length = text.shape[1] as number;
    const more = textHasClsToken && !textCausalMask;
    if (encoded.rank === 3 && encoded.shape[1] === length + Number(more)) return encoded;
    throw new ClipsmithError(
      `with ${textCausalMask ? "textCausalMask" : "useAllTokenEmbeds"} the text encoder must give ` +
        `${more ? `a token for the whole text (textHasClsToken) and ` : ""}one token for each of the text's ` +
        `${length}, [B, ${length + Number(more)}, ${dimText}]; it gave ${formatShape(encoded.shape)}.`,
    );
  }

  /**
   * The words of `sequence` in their order, [B, T, D], which is `text` with some words masked: what those
   * are told from. Padding is never seen.
   */
  encodeWords(sequence: Tensor, text: Tensor): Tensor {
    const encoded = this.#call(sequence, this.#words(text));
    if (encoded.rank !== 3) {
      throw new ClipsmithError(
        "useMlm asks for masked words, but the text encoder gives one vector for each text. " +
          "Give [B, T, D], or leave useMlm out.",
      );
    }
    return encoded.shape[1] === text.shape[1] ? encoded : slice(encoded, 1, 1);
  }

  #call(text: Tensor, mask: Tensor | undefined, wanted?: number): Tensor {
    return checkEncoded(this.#encoder.call(text, mask, wanted), this.#options.dimText, "text");
  }

  /** bool [B, T]: where a text has words, not padding. */
  #words(text: Tensor): Tensor {
    return not(equal(text, this.#options.textPadId));
  }

  /** The tokens that are compared: the first [B, D], or all words [B, T, D]. */
  compared(encoded: Tensor): Tensor {
    const { useAllTokenEmbeds, textHasClsToken } = this.#options;
    return comparedTokens(encoded, useAllTokenEmbeds, textHasClsToken, "text");
  }

  /** bool [B, T]: which of the words that are compared count; undefined for whole texts. */
  mask(text: Tensor): Tensor | undefined {
    const { useAllTokenEmbeds, textHasClsToken, textCausalMask, textEosId, compat } = this.#options;
    if (!useAllTokenEmbeds) return undefined;
    const mask = this.#words(text);
    if (textCausalMask) {
      if (compat && !textHasClsToken) return mask;
      const moved = gatherElements(mask, eosFirst(text, eosPositions(text, textEosId!)), 1);
      return textHasClsToken ? slice(moved, 1, 1) : moved;
    }
    // The built-in encoder puts a CLS token before the words whatever `textHasClsToken` says.
    if (textHasClsToken || !this.#builtIn) return mask;
    return concat([expandLike(constant(1, [1, 1], "bool"), slice(mask, 1, 0, 1)), mask], 1);
  }
}
