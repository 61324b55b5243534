import type { CLIP, LossOptions } from "../clip/index.js";
import { type Data, graph, input } from "../graph/index.js";
import { parameterGradients } from "../nn/index.js";
import { Program, type RuntimeOptions } from "../runtime/index.js";
import { AdamW, type AdamWOptions } from "./adamw.js";

/** A batch of B pairs, as arrays. */
export interface Batch {
  /** [B, T] */
  readonly text: Int32Array;
  /** [B, C, H, W] */
  readonly image: Float32Array;
  /** [B, K]; present where the model drops patches. */
  readonly patchIndices?: Int32Array;
  /** [B, B] (text, image): 1 where the pair is no negative. */
  readonly excluded: Uint8Array;
}

/** What a step found. */
export interface StepResult {
  readonly loss: number;
  /** Global norm of the gradients before clipping; nothing was learnt if it is not finite. */
  readonly gradientNorm: number;
}

/** What {@link TrainingStep.compile} needs. */
export interface TrainingStepOptions {
  readonly clip: CLIP;
  readonly batchSize: number;
  readonly textLength: number;
  /** Starting values by name. */
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly optimizer?: AdamWOptions;
  readonly loss?: Omit<LossOptions, "excluded">;
  readonly runtime?: RuntimeOptions;
}

const gradientOf = (name: string) => `gradient of ${name}`;

/** Forward, backward and update for batches of one size: loss and gradients are one program. */
export class TrainingStep {
  readonly optimizer: AdamW;
  readonly #program: Program;
  readonly #feeds: Readonly<Record<string, Data>>;
  /** The optimizer's own memory, which the program writes gradients into. */
  readonly #into: Readonly<Record<string, Data>>;
  /** Parameters that the loss does not depend on. */
  readonly #untouched: ReadonlySet<string>;

  private constructor(
    program: Program,
    optimizer: AdamW,
    learnt: ReadonlySet<string>,
    frozen: Readonly<Record<string, Data>>,
  ) {
    this.optimizer = optimizer;
    this.#program = program;
    this.#feeds = { ...frozen, ...Object.fromEntries(optimizer.parameters) };
    this.#into = Object.fromEntries(
      [...optimizer.gradients]
        .filter(([name]) => learnt.has(name))
        .map(([name, gradient]) => [gradientOf(name), gradient]),
    );
    this.#untouched = new Set([...optimizer.parameters.keys()].filter((name) => !learnt.has(name)));
  }

  static async compile(options: TrainingStepOptions): Promise<TrainingStep> {
    const { clip, batchSize, textLength, weights, runtime } = options;
    const inputs = clip.inputs(batchSize, { textLength, training: true });
    const excluded = input("excluded", [batchSize, batchSize], "bool");
    const loss = clip.loss(inputs, { ...options.loss, excluded });
    const gradients = parameterGradients(loss, clip.parameters);
    const outputs = [...gradients].map(([name, gradient]) => [gradientOf(name), gradient]);
    const program = await Program.compile(graph({ loss, ...Object.fromEntries(outputs) }), runtime);
    const values = new Map<string, { shape: readonly number[]; values: Float32Array }>();
    const buffers: Record<string, Data> = {};
    for (const [name, { shape, trainable }] of clip.parameters) {
      if (trainable) values.set(name, { shape, values: weights.get(name)! });
      else buffers[name] = weights.get(name)!;
    }
    return new TrainingStep(
      program,
      new AdamW(values, options.optimizer),
      new Set(gradients.keys()),
      buffers,
    );
  }

  /**
   * Learns from one batch. Where loss or gradients are not finite, nothing is learnt.
   */
  async run(
    batch: Batch,
    options: { readonly learningRate: number; readonly maxGradientNorm?: number },
  ): Promise<StepResult> {
    const { loss } = await this.#program.run({ ...this.#feeds, ...batch }, this.#into);
    const value = (loss as Float32Array)[0]!;
    if (!Number.isFinite(value)) return { loss: value, gradientNorm: Number.NaN };
    const { gradientNorm } = this.optimizer.step({ ...options, skip: this.#untouched });
    return { loss: value, gradientNorm };
  }

  async release(): Promise<void> {
    await this.#program.release();
  }
}
