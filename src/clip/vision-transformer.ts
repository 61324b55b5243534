import {
  add,
  concat,
  constant,
  formatShape,
  gather,
  input,
  linear,
  mean,
  reshape,
  type Tensor,
  transpose,
} from "../graph/index.js";
import { fanIn, type Scope, Transformer, type TransformerOptions } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";

/** Options of {@link VisionTransformer}. */
export interface VisionTransformerOptions extends TransformerOptions {
  readonly width: number;
  /** Height and width of pictures, in pixels; a multiple of the patch size. */
  readonly imageSize: number;
  /** Height and width of a patch, in pixels. */
  readonly patchSize: number;
  readonly channels: number;
}

/** x-clip's parts of the encoder, by which it counts hidden layers. */
const CHILDREN = ["to_tokens", "pos_emb", "patch_dropout", "transformer", "to_cls_tokens"];

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
    return this.#run(pictures, kept, () => {});
  }

  /**
   * What a layer gives for pictures [B, C, H, W]: of layer -1, all of {@link call}; of any other, its
   * tokens in one row, [B, T D].
   *
   * @param layer a layer's name as in x-clip (`to_tokens`, `patch_dropout`, `transformer`,
   *   `transformer.layers.3.1`, `to_cls_tokens`, ...), `transformer.layers.3` for the stream after that
   *   layer, or the place of one of x-clip's five children: 0 or -5 `to_tokens`, 2 or -3
   *   `patch_dropout`, 3 or -2 `transformer`, 4 `to_cls_tokens`.
   * @throws ClipsmithError if there is no such layer, or it does not depend on the picture (`pos_emb`).
   */
  representation(layer: number | string, pictures: Tensor, kept?: Tensor): Tensor {
    const outputs = new Map<string, Tensor>();
    const output = this.#run(pictures, kept, (name, tensor) => outputs.set(name, tensor));
    if (layer === -1) return output;
    const found = outputs.get(typeof layer === "string" ? layer : (CHILDREN.at(layer) ?? ""));
    if (found === undefined) {
      throw new ClipsmithError(
        `visualSslHiddenLayer: the image encoder has no hidden layer ${JSON.stringify(layer)} that can be ` +
          `used; choose -1 for its output, the place of one of its children ${CHILDREN.join(", ")}, save ` +
          `pos_emb, or one of ${[...outputs.keys()].map((name) => `"${name}"`).join(", ")}`,
      );
    }
    const width = found.shape.slice(1).reduce<number>((a, b) => a * (b as number), 1);
    return reshape(found, [found.shape[0]!, width]);
  }

  /**
   * The last axis of {@link representation}.
   *
   * @param patches how many patches are kept, K; default all.
   */
  representationWidth(layer: number | string, patches = patchCount(this.#options)): number {
    const { imageSize, channels } = this.#options;
    const picture = input("picture", [1, channels, imageSize, imageSize]);
    const kept = input("kept", [1, patches], "int32");
    return this.representation(layer, picture, kept).shape.at(-1) as number;
  }

  #run(
    pictures: Tensor,
    kept: Tensor | undefined,
    onOutput: (name: string, output: Tensor) => void,
  ): Tensor {
    const patches = this.#patches(pictures); // [B, P, C p p]
    const embed = (x: Tensor) => linear(x, this.#tokens.weight, this.#tokens.bias);
    onOutput("to_tokens", embed(patches));
    // Patches are dropped before they are embedded, which gives the same tokens for less work.
    const tokens = embed(kept ? gatherPatches(patches, kept) : patches);
    const positions = kept ? gather(this.#positions, kept) : this.#positions;
    const placed = add(tokens, positions);
    onOutput("patch_dropout", placed);
    const encoded = this.#transformer.call(placed, {
      onOutput: (name, output) => onOutput(`transformer.${name}`, output),
    });
    onOutput("transformer", encoded);
    const pooled = linear(mean(encoded, 1, true), this.#pool);
    onOutput("to_cls_tokens", pooled);
    return concat([pooled, encoded], 1);
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
