import {
  add,
  chunk,
  concat,
  constant,
  cos,
  mul,
  neg,
  reshape,
  sin,
  slice,
  type Tensor,
} from "../graph/index.js";
import type { Scope } from "./parameters.js";

/** Angles of rotary position embeddings (RoFormer, Su et al., 2021), base 10000. */
export class RotaryEmbedding {
  readonly #frequencies: Tensor;
  readonly #pairs: number;

  /** `width` is the number of features that are rotated; it must be even. */
  constructor(scope: Scope, width: number) {
    if (width % 2 !== 0) throw new Error(`rotary: the rotated width must be even, is ${width}`);
    this.#pairs = width / 2;
    const frequencies = Float32Array.from(
      { length: this.#pairs },
      (_, i) => 1 / 10000 ** ((2 * i) / width),
    );
    this.#frequencies = scope.buffer("inv_freq", [this.#pairs], frequencies);
  }

  /** [T, width]: the angle of each position and feature. */
  call(length: number): Tensor {
    const positions = constant(
      Array.from({ length }, (_, i) => i),
      [length, 1],
    );
    const angles = mul(positions, reshape(this.#frequencies, [1, this.#pairs]));
    return concat([angles, angles], -1);
  }
}

/**
 * Turns pairs of features by angles [T, R]: feature i with feature i + R/2. Features past R stay.
 * `x` is [..., T, D].
 */
export function rotate(x: Tensor, angles: Tensor): Tensor {
  const width = angles.shape[1] as number;
  const turned = slice(x, -1, 0, width);
  const [first, second] = chunk(turned, 2, -1);
  const quarter = concat([neg(second!), first!], -1);
  const result = add(mul(turned, cos(angles)), mul(quarter, sin(angles)));
  return width === x.shape.at(-1) ? result : concat([result, slice(x, -1, width)], -1);
}
