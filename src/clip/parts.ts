import { formatShape, reshape, slice, type Tensor } from "../graph/index.js";
import type { BufferUpdates, Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { ResolvedClipOptions } from "./options.js";
import type { EncodePictures, VisualSslInputs } from "./visual-ssl/index.js";

/** What CLIP asks of a text encoder. */
export interface TextEncoder {
  /**
   * Tokens int32 [B, T] and a mask bool [B, T] of those that are no padding, to [B, T', D] or [B, D].
   *
   * @param wanted how many tokens of the result are wanted, from the first on; it may give more.
   */
  call(text: Tensor, mask?: Tensor, wanted?: number): Tensor;
}

/** What CLIP asks of an image encoder. */
export interface ImageEncoder {
  /** Pictures [B, C, H, W] to [B, P', D], a token that stands for the picture first, or to [B, D]. */
  call(image: Tensor, patchIndices?: Tensor): Tensor;
  /**
   * What visual self-supervision sees of a hidden layer, [B, D] or [B, T, D]: by its place among the parts
   * (counted from the end if negative) or by its name. Needed for such a layer alone.
   */
  representation?(layer: number | string, image: Tensor, patchIndices?: Tensor): Tensor;
  /** The last axis of `representation`, where so many patches are kept. */
  representationWidth?(layer: number | string, patches: number): number;
}

/** What CLIP asks of visual self-supervision. */
export interface VisualSsl {
  /** How many times it encodes pictures, and may be told which patches to keep. */
  readonly passes: number;
  /** A scalar. Buffers that a step changes, such as batch norm's statistics, go to `updates`. */
  loss(encode: EncodePictures, inputs: VisualSslInputs, updates: BufferUpdates): Tensor;
}

/**
 * Parts of your own in place of the built-in ones. Each declares its parameters in the scope it is given;
 * the encoders' widths are `dimText` and `dimImage`.
 */
export interface ClipParts {
  readonly textEncoder?: (scope: Scope, options: ResolvedClipOptions) => TextEncoder;
  readonly imageEncoder?: (scope: Scope, options: ResolvedClipOptions) => ImageEncoder;
  /** @param width D of what is encoded: of the image encoder's output, or of `visualSslHiddenLayer`. */
  readonly visualSsl?: (scope: Scope, width: number) => VisualSsl;
}

/** Throws unless an encoder gave [B, T, D] or [B, D]. */
export function checkEncoded(encoded: Tensor, width: number, side: "text" | "image"): Tensor {
  if ((encoded.rank !== 2 && encoded.rank !== 3) || encoded.shape.at(-1) !== width) {
    throw new ClipsmithError(
      `the ${side} encoder must give [B, T, ${width}] or [B, ${width}], gave ` +
        `${formatShape(encoded.shape)}. Its width is dim${side === "text" ? "Text" : "Image"}.`,
    );
  }
  return encoded;
}

/** The first token [B, D] of [B, T, D]; or all of them, without the first if it stands for the whole. */
export function comparedTokens(
  encoded: Tensor,
  tokenwise: boolean,
  hasCls: boolean,
  side: "text" | "image",
): Tensor {
  if (tokenwise) {
    if (encoded.rank === 3) return hasCls ? slice(encoded, 1, 1) : encoded;
    throw new ClipsmithError(
      `useAllTokenEmbeds compares tokens, but the ${side} encoder gives one vector for each ${side}. ` +
        "Give [B, T, D], or leave useAllTokenEmbeds out.",
    );
  }
  if (encoded.rank === 2) return encoded;
  return reshape(slice(encoded, 1, 0, 1), [encoded.shape[0]!, encoded.shape[2]!]);
}
