import type { CLIP, LossOptions } from "../clip/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import type { Batch, ChunkedBatch } from "./batch.js";

/** Arrays by name. */
export type Arrays = ReadonlyMap<string, Float32Array>;

/** A batch's loss. */
export interface FoundLoss {
  readonly loss: number;
  /** Its parts by name, before they are weighed. */
  readonly terms: Readonly<Record<string, number>>;
}

/** What a step's loss is made of. */
export interface LossGradientsOptions {
  readonly clip: CLIP;
  readonly batchSize: number;
  readonly textLength: number;
  /** How many more views of texts and pictures a batch has; default 0. */
  readonly augTexts?: number;
  readonly augImages?: number;
  /** Names of parameters that are never learnt: no gradients are computed for them. Default: none. */
  readonly frozen?: ReadonlySet<string>;
  readonly loss?: Omit<LossOptions, "excluded">;
  readonly runtime?: RuntimeOptions;
}

/** How the encoders of a step run: what they need is kept for the next step, or for the next chunk. */
export const stepRuntime = (runtime: RuntimeOptions = {}): RuntimeOptions => ({
  memoryArena: true,
  ...runtime,
});

/** Finds the loss of batches of one size, and its gradients. */
export interface LossGradients {
  /** The parameters that have a gradient. */
  readonly learnt: ReadonlySet<string>;
  /** The buffers that a step changes. */
  readonly changed: ReadonlySet<string>;
  /**
   * @param values of all parameters and buffers.
   * @param gradients take those of all that is `learnt`.
   * @param newValues take those of all that is `changed`.
   */
  run(
    batch: Batch | ChunkedBatch,
    values: Arrays,
    gradients: Arrays,
    newValues: Arrays,
  ): Promise<FoundLoss>;
  release(): Promise<void>;
}
