import { l2norm, type Tensor } from "../../graph/index.js";
import type { BufferUpdates, Scope } from "../../nn/index.js";
import { Projector } from "./heads.js";
import { ntXent } from "./losses.js";
import type { EncodePictures, VisualSslInputs, VisualSslOptions } from "./options.js";
import { pictureRows, tokenRows } from "./rows.js";

/** Options of {@link SimCLR}. */
export interface SimClrOptions extends VisualSslOptions {
  /** What similarities are divided by; default 0.1. */
  readonly temperature?: number | undefined;
}

/** SimCLR (Chen et al., 2020): two views of a picture are to be told from those of all others. */
export class SimCLR {
  /** How many times {@link loss} encodes pictures, and may be told which patches to keep. */
  readonly passes = 2;
  readonly #options: SimClrOptions;
  readonly #projector: Projector;

  constructor(scope: Scope, options: SimClrOptions) {
    const { width, projectionSize = 128, projectionHiddenSize = 4096 } = options;
    this.#options = options;
    this.#projector = new Projector(
      scope.child("net.projector"),
      width,
      projectionHiddenSize,
      projectionSize,
    );
  }

  /**
   * NT-Xent of the projections, a scalar.
   *
   * @param updates takes batch norm's statistics.
   */
  loss(
    encode: EncodePictures,
    { views, patchIndices }: VisualSslInputs,
    updates: BufferUpdates,
  ): Tensor {
    const { temperature = 0.1, compat } = this.#options;
    const project = (pass: 0 | 1) => {
      const representation = encode(views[pass], patchIndices?.[pass]);
      if (compat === "x-clip") return this.#projector.call(tokenRows(representation), updates);
      return l2norm(this.#projector.call(pictureRows(representation), updates));
    };
    return ntXent(project(0), project(1), temperature);
  }
}
