import {
  add,
  concat,
  constant,
  formatShape,
  gather,
  linear,
  mean,
  reshape,
  type Tensor,
  transpose,
} from "../graph/index.js";
import { fanIn, type Scope, Transformer, type TransformerOptions } from "../nn/index.js";

/** Options of {@link VisionTransformer}. */
export interface VisionTransformerOptions extends TransformerOptions {
  readonly width: number;
  /** Height and width of pictures, in pixels; a multiple of the patch size. */
  readonly imageSize: number;
  /** Height and width of a patch, in pixels. */
  readonly patchSize: number;
  readonly channels: number;
}

/** Patches, positions, a Transformer, and a pooled token in front (Dosovitskiy et al., 2020). */
export class VisionTransformer {
  readonly #options: VisionTransformerOptions;
  readonly #tokens: { readonly weight: Tensor; readonly bias: Tensor };
  readonly #positions: Tensor;
  readonly #transformer: Transformer;
  readonly #pool: Tensor;

  constructor(scope: Scope, options: VisionTransformerOptions) {
    const { width, imageSize, patchSize, channels, ...transformer } = options;
    this.#options = options;
    const patchWidth = channels * patchSize ** 2;
    this.#tokens = {
      weight: scope.linear("to_tokens.1", width, patchWidth),
      bias: scope.parameter("to_tokens.1.bias", [width], fanIn(patchWidth)),
    };
    this.#positions = scope.embedding("pos_emb", patchCount(options), width);
    this.#transformer = new Transformer(scope.child("transformer"), width, transformer);
    this.#pool = scope.linear("to_cls_tokens.1", width, width);
  }

  /**
   * Pictures [B, C, H, W] to [B, 1 + P, D]: a linear map of the tokens' mean first, then the tokens.
   *
   * @param kept int32 [B, K]: the patches that are kept, in this order (patch dropout); default all.
   */
  call(pictures: Tensor, kept?: Tensor): Tensor {
    const patches = this.#patches(pictures); // [B, P, C p p]
    // Patches are dropped before they are embedded, which gives the same tokens for less work.
    const tokens = linear(
      kept ? gatherPatches(patches, kept) : patches,
      this.#tokens.weight,
      this.#tokens.bias,
    );
    const positions = kept ? gather(this.#positions, kept) : this.#positions;
    const encoded = this.#transformer.call(add(tokens, positions));
    return concat([linear(mean(encoded, 1, true), this.#pool), encoded], 1);
  }

  /** Cuts pictures into flat patches, channels last, row by row. */
  #patches(pictures: Tensor): Tensor {
    const { imageSize, patchSize, channels } = this.#options;
    const [batch, ...rest] = pictures.shape;
    if (rest.join() !== [channels, imageSize, imageSize].join()) {
      throw new Error(
        `pictures must be [B, C, H, W] = [B, ${channels}, ${imageSize}, ${imageSize}], ` +
          `are ${formatShape(pictures.shape)}`,
      );
    }
    const side = imageSize / patchSize;
    const grid = reshape(pictures, [batch!, channels, side, patchSize, side, patchSize]);
    const ordered = transpose(grid, [0, 2, 4, 3, 5, 1]);
    return reshape(ordered, [batch!, side * side, channels * patchSize ** 2]);
  }
}

/** Number of patches P of a picture. */
export function patchCount(options: { imageSize: number; patchSize: number }): number {
  return (options.imageSize / options.patchSize) ** 2;
}

/** How many of `count` patches are left when the part `dropout` is dropped: at least one. */
export function keptPatches(count: number, dropout: number): number {
  return Math.max(1, Math.trunc(count * (1 - dropout)));
}

/** patches [B, P, D] and kept [B, K] to [B, K, D]. */
function gatherPatches(patches: Tensor, kept: Tensor): Tensor {
  const [batch, count, width] = patches.shape;
  if (typeof batch !== "number" || kept.rank !== 2 || kept.shape[0] !== batch) {
    throw new Error(
      `patch dropout needs a fixed batch: pictures give ${formatShape(patches.shape)}, ` +
        `kept patches are ${formatShape(kept.shape)}`,
    );
  }
  const rows = constant(
    Array.from({ length: batch }, (_, row) => row * (count as number)),
    [batch, 1],
    "int32",
  );
  const flat = reshape(patches, [batch * (count as number), width!]);
  return gather(flat, add(kept, rows));
}
