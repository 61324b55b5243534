import { formatShape, type Tensor } from "../graph/index.js";
import type { Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { ResolvedClipOptions } from "./options.js";

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
   * The output of a part inside, as rows [B, width], for self-supervision below the last layer: by its
   * place among the parts, counted from the end, or by its name.
   */
  hidden?(part: number | string, image: Tensor, patchIndices?: Tensor): Tensor;
}

/**
 * Encoders of your own in place of the built-in transformers. Each declares its parameters in the scope it
 * is given; widths are `dimText` and `dimImage`.
 */
export interface Encoders {
  readonly textEncoder?: (scope: Scope, options: ResolvedClipOptions) => TextEncoder;
  readonly imageEncoder?: (scope: Scope, options: ResolvedClipOptions) => ImageEncoder;
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
