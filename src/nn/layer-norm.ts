import { layerNorm, type Tensor } from "../graph/index.js";
import type { Scope } from "./parameters.js";

/** Layer normalisation with a gain and no bias; epsilon 1e-5. */
export class LayerNorm {
  readonly #gain: Tensor;

  constructor(scope: Scope, width: number) {
    this.#gain = scope.parameter("g", [width], { kind: "constant", value: 1 });
  }

  /** [..., D] to [..., D] */
  call(x: Tensor): Tensor {
    return layerNorm(x, this.#gain);
  }
}
