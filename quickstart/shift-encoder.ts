import type { ClipParts } from "../src/clip/index.js";
import {
  add,
  concat,
  gelu,
  layerNorm,
  linear,
  pad,
  reshape,
  slice,
  type Tensor,
  transpose,
} from "../src/graph/index.js";
import { fanIn, type Scope } from "../src/nn/index.js";

/** A grid of places that all have vectors of one width, and the blocks that work on it. */
export interface Stage {
  /** How many places of the stage before, along each axis, one place is made of; of the first: pixels. */
  readonly merge: number;
  readonly width: number;
  readonly blocks: number;
  /** How many times wider a block is inside. */
  readonly expand: number;
}

/**
 * An image encoder that looks at neighbours before it looks at the whole: where a vision transformer has
 * to learn from the pictures that what lies side by side belongs together, this one begins with it, and
 * so learns more from few drawings. Grids of places become coarser from stage to stage; in a block each
 * place takes a part of the channels of its four neighbours (Wu et al., "Shift", CVPR 2018; Yu et al.,
 * "S2-MLP", WACV 2022), then passes a two-layer perceptron, so that all arithmetic is matrix products.
 */
export function shiftEncoder(stages: readonly Stage[]): NonNullable<ClipParts["imageEncoder"]> {
  return (scope, { channels, dimImage, visualImageSize }) => {
    let side = visualImageSize;
    let width: number = channels;
    const layers = stages.map((stage, i) => {
      const layer = stageLayer(scope.child(`stages.${i}`), stage, width, i > 0);
      side /= stage.merge;
      width = stage.width;
      return layer;
    });
    const flat = side * side * width;
    const gain = gainOf(scope, flat);
    const out = scope.linear("out", dimImage, flat);
    return {
      /** [B, C, H, W] to [B, D] */
      call(image) {
        const first = transpose(image, [0, 2, 3, 1]); // [B, H, W, C]
        const last = layers.reduce((grid, layer) => layer(grid), first);
        return linear(layerNorm(reshape(last, [image.shape[0]!, flat]), gain), out);
      },
    };
  };
}

type Layer = (grid: Tensor) => Tensor;

/** [B, H, W, C] to [B, H / merge, W / merge, D] */
function stageLayer(
  scope: Scope,
  { merge, width, blocks, expand }: Stage,
  inWidth: number,
  norm: boolean,
): Layer {
  const merged = merge * merge * inWidth;
  const gain = norm ? gainOf(scope, merged) : undefined;
  const weight = scope.linear("merge", width, merged);
  const bias = scope.parameter("merge.bias", [width], fanIn(merged));
  const layers = Array.from({ length: blocks }, (_, i) =>
    blockLayer(scope.child(`blocks.${i}`), width, expand * width),
  );
  return (grid) => {
    const places = mergePlaces(grid, merge);
    const start = linear(gain ? layerNorm(places, gain) : places, weight, bias);
    return layers.reduce((x, layer) => layer(x), start);
  };
}

/** x + perceptron(shift(norm(x))) */
function blockLayer(scope: Scope, width: number, inner: number): Layer {
  const gain = gainOf(scope, width);
  const expand = scope.linear("expand", inner, width);
  const bias = scope.parameter("expand.bias", [inner], fanIn(width));
  const contract = scope.linear("contract", width, inner);
  return (x) => add(x, linear(gelu(linear(shift(layerNorm(x, gain)), expand, bias)), contract));
}

function gainOf(scope: Scope, width: number): Tensor {
  return scope.parameter("norm.g", [width], { kind: "constant", value: 1 });
}

/** [B, H, W, C] to [B, H / n, W / n, n n C] */
function mergePlaces(grid: Tensor, n: number): Tensor {
  const [batch, height, width, channels] = grid.shape as [number, number, number, number];
  const cut = reshape(grid, [batch, height / n, n, width / n, n, channels]);
  const together = transpose(cut, [0, 1, 3, 2, 4, 5]);
  return reshape(together, [batch, height / n, width / n, n * n * channels]);
}

/**
 * Moves a fifth of the channels of [B, H, W, C] one place along each of the four directions and leaves
 * the rest where it is; what comes in at the edges is zero.
 */
export function shift(grid: Tensor): Tensor {
  const channels = grid.shape[3] as number;
  const part = Math.floor(channels / 5);
  const moved = (
    [
      [1, 1],
      [1, -1],
      [2, 1],
      [2, -1],
    ] as const
  ).map(([axis, step], i) => {
    const x = slice(grid, 3, i * part, (i + 1) * part);
    const length = x.shape[axis] as number;
    const none = [0, 0, 0, 0];
    const one = none.with(axis, 1);
    return step > 0
      ? pad(slice(x, axis, 0, length - 1), one, none)
      : pad(slice(x, axis, 1, length), none, one);
  });
  return concat([...moved, slice(grid, 3, 4 * part, channels)], 3);
}
