import type { Tensor } from "../graph/index.js";
import type { Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { ResolvedClipOptions } from "./options.js";
import { type ClipParts, checkEncoded, comparedTokens, type ImageEncoder } from "./parts.js";
import { keptPatches, patchCount, VisionTransformer } from "./vision-transformer.js";

/** The image encoder, and which of its tokens count. */
export class ImageTower {
  readonly #options: ResolvedClipOptions;
  readonly #encoder: ImageEncoder;
  readonly #builtIn: boolean;

  constructor(scope: Scope, options: ResolvedClipOptions, custom: ClipParts["imageEncoder"]) {
    this.#options = options;
    this.#builtIn = custom === undefined;
    this.#encoder =
      custom?.(scope, options) ??
      new VisionTransformer(scope, {
        width: options.dimImage,
        imageSize: options.visualImageSize,
        patchSize: options.visualPatchSize,
        channels: options.channels,
        depth: options.visualEncDepth,
        heads: options.visualHeads,
        dimHead: options.visualDimHead,
        checkpointDuringTraining: options.checkpointDuringTraining,
      });
  }

  /** Number of patches P of a picture. */
  get patches(): number {
    const { visualImageSize: imageSize, visualPatchSize: patchSize } = this.#options;
    return patchCount({ imageSize, patchSize });
  }

  /** Number of patches K that are kept in training; an encoder of the user's keeps all. */
  get keptPatches(): number {
    return this.#builtIn
      ? keptPatches(this.patches, this.#options.visualPatchDropout)
      : this.patches;
  }

  /** [B, 1 + K, D], the pooled token first; what an encoder of the user's gives as it is. */
  encode(image: Tensor, patchIndices?: Tensor): Tensor {
    return checkEncoded(this.#encoder.call(image, patchIndices), this.#options.dimImage, "image");
  }

  /** The tokens that are compared: the first [B, D], or those of all patches [B, P, D]. */
  compared(encoded: Tensor): Tensor {
    const { useAllTokenEmbeds, visualHasClsToken } = this.#options;
    return comparedTokens(encoded, useAllTokenEmbeds, visualHasClsToken, "image");
  }

  /** What visual self-supervision sees: the output, or a hidden layer's. */
  encodeLayer(layer: number | string, image: Tensor, patchIndices?: Tensor): Tensor {
    if (layer === -1) return this.encode(image, patchIndices);
    return this.#encoder.representation!(layer, image, patchIndices);
  }

  /** The last axis of what {@link encodeLayer} gives. Throws if the encoder gives no hidden layer. */
  layerWidth(layer: number | string): number {
    if (layer === -1) return this.#options.dimImage;
    const encoder = this.#encoder;
    if (encoder.representation && encoder.representationWidth) {
      return encoder.representationWidth(layer, this.keptPatches);
    }
    throw new ClipsmithError(
      `visualSslHiddenLayer (${layer}) asks for a hidden layer, which the image encoder does not ` +
        "give: it has no method `representation`. Use -1, its output.",
    );
  }
}
