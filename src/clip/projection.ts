import {
  cast,
  concat,
  constant,
  equal,
  gather,
  linear,
  matmul,
  matrixTranspose,
  mul,
  reshape,
  slice,
  sub,
  sum,
  type Tensor,
} from "../graph/index.js";
import { fanIn, type Scope } from "../nn/index.js";

/** Declares a projection's parameters: drawn, or as copies of another projection's. */
export interface ProjectionOptions {
  /** Width D of the encoder's tokens. */
  readonly width: number;
  /** Width L of latents. */
  readonly dimLatent: number;
  /** The name of a projection that this one starts equal to. */
  readonly copyOf?: string;
}

/** A parameter under `name`, drawn as torch draws a layer that sums `inWidth` values, or copied. */
function declare(
  scope: Scope,
  name: string,
  part: string,
  shape: readonly number[],
  inWidth: number,
  copyOf: string | undefined,
): Tensor {
  const initializer = copyOf
    ? ({ kind: "copy", of: `${copyOf}.${part}` } as const)
    : fanIn(inWidth);
  return scope.parameter(`${name}.${part}`, shape, initializer);
}

/** A linear layer without bias from tokens [..., D] to latents [..., L]. */
export class LinearProjection {
  readonly #weight: Tensor;

  constructor(scope: Scope, name: string, { width, dimLatent, copyOf }: ProjectionOptions) {
    this.#weight = declare(scope, name, "weight", [dimLatent, width], width, copyOf);
  }

  call(tokens: Tensor): Tensor {
    return linear(tokens, this.#weight);
  }
}

/** Height and width of the convolution's windows, its stride, and the zeros around the grid. */
const WINDOW = 4;
const STRIDE = 2;
const PADDING = 1;

/**
 * Halves the height and width of a grid of image tokens on the way to latents: a convolution of each
 * channel by itself, then a linear layer with bias.
 */
export class DownsamplingProjection {
  readonly #depthwise: Tensor;
  readonly #pointwise: Tensor;
  readonly #bias: Tensor;

  constructor(scope: Scope, name: string, { width, dimLatent, copyOf }: ProjectionOptions) {
    const window = WINDOW ** 2;
    const parameter = (part: string, shape: readonly number[], inWidth: number) =>
      declare(scope, name, part, shape, inWidth, copyOf);
    this.#depthwise = parameter("1.weight", [width, 1, WINDOW, WINDOW], window);
    this.#pointwise = parameter("2.weight", [dimLatent, width, 1, 1], width);
    this.#bias = parameter("2.bias", [dimLatent], width);
  }

  /** Tokens [B, rows * columns, D], row by row, to latents [B, P', L]. */
  call(tokens: Tensor, [rows, columns]: readonly [rows: number, columns: number]): Tensor {
    const [batch, count, width] = tokens.shape as [number | string, number, number];
    const window = WINDOW ** 2;
    // One more token, all zeros, stands for what lies outside the grid.
    const first = slice(tokens, 1, 0, 1);
    const padded = concat([tokens, sub(first, first)], 1);
    const places = windowPlaces(rows, columns, count);
    const windows = reshape(gather(padded, places, 1), [
      batch,
      (places.shape[0] as number) / window,
      window,
      width,
    ]);
    const kernel = matrixTranspose(reshape(this.#depthwise, [width, window]));
    const pointwise = reshape(this.#pointwise, [this.#pointwise.shape[0]!, width]);
    return linear(sum(mul(windows, kernel), 2), pointwise, this.#bias);
  }
}

/** For every window, top left to bottom right, the places of the tokens in it; `outside` is padding's. */
function windowPlaces(rows: number, columns: number, outside: number): Tensor {
  const places: number[] = [];
  for (let top = -PADDING; top + WINDOW <= rows + PADDING; top += STRIDE) {
    for (let left = -PADDING; left + WINDOW <= columns + PADDING; left += STRIDE) {
      for (let i = 0; i < WINDOW ** 2; i++) {
        const [row, column] = [top + Math.floor(i / WINDOW), left + (i % WINDOW)];
        const inside = row >= 0 && row < rows && column >= 0 && column < columns;
        places.push(inside ? row * columns + column : outside);
      }
    }
  }
  return constant(places, [places.length], "int32");
}

/** Rows of the grid that x-clip makes of the `kept` patches that patch dropout leaves. */
export function shuffledRows(kept: number): number {
  return Math.floor(Math.sqrt(kept));
}

/** Puts the kept patches' tokens [B, K, D] back where they belong among P, with zeros for the others. */
export function onGrid(tokens: Tensor, kept: Tensor, patches: number): Tensor {
  const [batch, count] = kept.shape;
  const all = constant(
    Array.from({ length: patches }, (_, i) => i),
    [1, 1, patches],
    "int32",
  );
  const belongs = cast(equal(reshape(kept, [batch!, count!, 1]), all), "float32"); // [B, K, P]
  return matmul(matrixTranspose(belongs), tokens);
}
