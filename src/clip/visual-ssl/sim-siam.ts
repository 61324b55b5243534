import { add, detach, type Tensor } from "../../graph/index.js";
import type { BufferUpdates, Scope } from "../../nn/index.js";
import { Predictor, Projector } from "./heads.js";
import { cosineDistance } from "./losses.js";
import type { EncodePictures, VisualSslInputs, VisualSslOptions } from "./options.js";
import { pictureRows, tokenRows } from "./rows.js";

/**
 * SimSiam (Chen and He, 2020): from the projection of either view of a picture, a predictor tells that of
 * the other, to which no gradient flows.
 */
export class SimSiam {
  /** How many times {@link loss} encodes pictures, and may be told which patches to keep. */
  readonly passes: 2 | 4;
  readonly #options: VisualSslOptions;
  readonly #projector: Projector;
  readonly #predictor: Predictor;

  constructor(scope: Scope, options: VisualSslOptions) {
    const { width, projectionSize = 256, projectionHiddenSize = 4096 } = options;
    this.#options = options;
    this.passes = options.compat === "x-clip" ? 4 : 2;
    this.#projector = new Projector(
      scope.child("online_encoder.projector"),
      width,
      projectionHiddenSize,
      projectionSize,
    );
    this.#predictor = new Predictor(
      scope.child("online_predictor"),
      projectionSize,
      projectionHiddenSize,
    );
  }

  /**
   * The sum over both directions of 2 - 2 cos, a scalar in 0 to 8.
   *
   * @param inputs their `patchIndices`, if given, are of the first view, of the second, and with
   *   `compat: "x-clip"` of both again for the targets.
   * @param updates takes batch norm's statistics.
   */
  loss(
    encode: EncodePictures,
    { views, patchIndices }: VisualSslInputs,
    updates: BufferUpdates,
  ): Tensor {
    const { compat } = this.#options;
    const rows = compat === "x-clip" ? tokenRows : pictureRows;
    const project = (pass: number) =>
      this.#projector.call(rows(encode(views[pass % 2]!, patchIndices?.[pass])), updates);

    // The order is x-clip's, because running statistics depend on it.
    const projections = [project(0), project(1)] as const;
    const predictions = projections.map((rows) => this.#predictor.call(rows, updates));
    const targets = (compat === "x-clip" ? [project(2), project(3)] : projections).map(detach);
    return add(
      cosineDistance(predictions[0]!, targets[1]!),
      cosineDistance(predictions[1]!, targets[0]!),
    );
  }
}
