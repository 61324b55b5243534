import type { Tensor } from "../../graph/index.js";

/**
 * What is to be learnt of a picture: [B, C, H, W] and int32 [B, K], the patches that are kept, to [B, D],
 * or to [B, T, D] whose first token stands for the picture.
 */
export type EncodePictures = (image: Tensor, patchIndices?: Tensor) => Tensor;

/** Options of {@link SimSiam} and {@link SimCLR}. */
export interface VisualSslOptions {
  /** D of what is encoded. */
  readonly width: number;
  /** Width of projections. Default: 256 for SimSiam, 128 for SimCLR. */
  readonly projectionSize?: number | undefined;
  /** Width of the projector's and the predictor's hidden layers; default 4096. */
  readonly projectionHiddenSize?: number | undefined;
  /**
   * `"x-clip"`: compute what x-clip does, where it departs from the papers. Every token is projected and
   * compared as if it were a picture; SimSiam encodes each view a second time for its target; SimCLR
   * does not bring projections to length 1.
   */
  readonly compat?: "x-clip" | undefined;
}

/** One batch for visual self-supervision. */
export interface VisualSslInputs {
  /** Two views of each picture, [B, C, H, W], B fixed and at least 2. */
  readonly views: readonly [Tensor, Tensor];
  /** int32 [B, K] for each of the `passes`, in their order; absent: all patches are kept. */
  readonly patchIndices?: readonly Tensor[] | undefined;
}
