import type { Communicator } from "../distributed/index.js";
import type { Batch, ChunkedBatch } from "./batch.js";
import { ChunkedGradients } from "./chunked-gradients.js";
import { FusedGradients } from "./fused-gradients.js";
import type { Arrays, FoundLoss, LossGradients, LossGradientsOptions } from "./loss-gradients.js";
import { Optimizer, type OptimizerOptions, type StepOptions } from "./optimizer.js";

/** What a step found. */
export interface StepResult extends FoundLoss {
  /** Global norm of the gradients before clipping; nothing was learnt if it is not finite. */
  readonly gradientNorm: number;
}

/** What {@link TrainingStep.compile} needs. */
export interface TrainingStepOptions extends LossGradientsOptions {
  /** Starting values by name. */
  readonly weights: Arrays;
  readonly optimizer?: OptimizerOptions;
  /** Most pairs that the encoders see at once; default: all of a batch. */
  readonly chunkSize?: number;
  /** See {@link ChunkedGradientsOptions.tileSize}. */
  readonly tileSize?: number;
  /** The ranks that share a batch; default: this process alone. */
  readonly communicator?: Communicator;
}

/** Forward, backward and update for batches of one size. */
export class TrainingStep {
  readonly optimizer: Optimizer;
  /**
   * Values that no gradient changes, by name: batch norm's statistics, for example, and parameters that
   * are frozen or that the loss does not depend on.
   */
  readonly buffers: Arrays;
  readonly #lossGradients: LossGradients;
  /** Buffers' new values, which count only if the step does. */
  readonly #newBuffers: Arrays;

  private constructor(lossGradients: LossGradients, optimizer: Optimizer, buffers: Arrays) {
    this.optimizer = optimizer;
    this.buffers = buffers;
    this.#lossGradients = lossGradients;
    this.#newBuffers = new Map(
      [...lossGradients.changed].map((name) => [name, new Float32Array(buffers.get(name)!.length)]),
    );
  }

  /** Compiles the step: one program where a batch is one chunk, else see {@link ChunkedGradients}. */
  static async compile(options: TrainingStepOptions): Promise<TrainingStep> {
    const { clip, batchSize, weights, chunkSize = batchSize, communicator } = options;
    const lossGradients =
      chunkSize < batchSize || (communicator && communicator.size > 1)
        ? await ChunkedGradients.compile({ ...options, chunkSize })
        : await FusedGradients.compile(options);
    const values = new Map<string, { shape: readonly number[]; values: Float32Array }>();
    const buffers = new Map<string, Float32Array>();
    for (const [name, { shape }] of clip.parameters) {
      if (lossGradients.learnt.has(name)) values.set(name, { shape, values: weights.get(name)! });
      else buffers.set(name, weights.get(name)!.slice());
    }
    return new TrainingStep(lossGradients, new Optimizer(values, options.optimizer), buffers);
  }

  /**
   * Learns from one batch. Where loss or gradients are not finite, nothing is learnt.
   */
  async run(batch: Batch | ChunkedBatch, options: StepOptions): Promise<StepResult> {
    const { gradients } = this.optimizer;
    const found = await this.#lossGradients.run(batch, this.weights, gradients, this.#newBuffers);
    if (!Number.isFinite(found.loss)) return { ...found, gradientNorm: Number.NaN };
    const { gradientNorm } = this.optimizer.step(options);
    if (Number.isFinite(gradientNorm)) {
      for (const [name, values] of this.#newBuffers) this.buffers.get(name)!.set(values);
    }
    return { ...found, gradientNorm };
  }

  /** All values of the model as they are being trained, by name; views that the next step changes. */
  get weights(): Arrays {
    return new Map([...this.buffers, ...this.optimizer.parameters]);
  }

  /** As `weights`, but running means where the optimizer keeps them: what a model should be made of. */
  get averagedWeights(): Arrays {
    return new Map([...this.weights, ...(this.optimizer.means ?? [])]);
  }

  async release(): Promise<void> {
    await this.#lossGradients.release();
  }
}
