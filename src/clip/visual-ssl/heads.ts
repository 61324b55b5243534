import { linear, relu, type Tensor } from "../../graph/index.js";
import { BatchNorm, type BufferUpdates, fanIn, type Scope } from "../../nn/index.js";

/** Three linear layers without bias, each followed by batch norm, the first two by ReLU as well. */
export class Projector {
  readonly #layers: readonly { readonly weight: Tensor; readonly norm: BatchNorm }[];

  constructor(scope: Scope, width: number, hidden: number, out: number) {
    this.#layers = [
      { weight: scope.linear("0", hidden, width), norm: new BatchNorm(scope.child("1"), hidden) },
      { weight: scope.linear("3", hidden, hidden), norm: new BatchNorm(scope.child("4"), hidden) },
      {
        weight: scope.linear("6", out, hidden),
        norm: new BatchNorm(scope.child("7"), out, { affine: false }),
      },
    ];
  }

  /** [N, width] to [N, out] */
  call(rows: Tensor, updates: BufferUpdates): Tensor {
    return this.#layers.reduce(
      (x, { weight, norm }, i) => norm.call(linear(i === 0 ? x : relu(x), weight), updates),
      rows,
    );
  }
}

/** Two linear layers with biases; batch norm and ReLU between them. */
export class Predictor {
  readonly #expand: { readonly weight: Tensor; readonly bias: Tensor };
  readonly #norm: BatchNorm;
  readonly #contract: { readonly weight: Tensor; readonly bias: Tensor };

  constructor(scope: Scope, width: number, hidden: number) {
    this.#expand = linearLayer(scope, "0", hidden, width);
    this.#norm = new BatchNorm(scope.child("1"), hidden);
    this.#contract = linearLayer(scope, "3", width, hidden);
  }

  /** [N, width] to [N, width] */
  call(rows: Tensor, updates: BufferUpdates): Tensor {
    const expanded = linear(rows, this.#expand.weight, this.#expand.bias);
    const hidden = relu(this.#norm.call(expanded, updates));
    return linear(hidden, this.#contract.weight, this.#contract.bias);
  }
}

function linearLayer(scope: Scope, name: string, out: number, width: number) {
  return {
    weight: scope.linear(name, out, width),
    bias: scope.parameter(`${name}.bias`, [out], fanIn(width)),
  };
}
