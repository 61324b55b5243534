import type { CLIP, LossOptions } from "../clip/index.js";
import { type Data, graph, input, type Tensor } from "../graph/index.js";
import { parameterGradients } from "../nn/index.js";
import { Program, type RuntimeOptions } from "../runtime/index.js";
import { Optimizer, type OptimizerOptions, type StepOptions } from "./optimizer.js";

/** A batch of B pairs, as arrays. */
export interface Batch {
  /** [B, T] */
  readonly text: Int32Array;
  /** [B, C, H, W] */
  readonly image: Float32Array;
  /** [V B, K] for V views of pictures; present where the model drops patches. */
  readonly patchIndices?: Int32Array;
  /** More views of the texts, as `text`. */
  readonly augText?: readonly Int32Array[];
  /** More views of the pictures, as `image`. */
  readonly augImage?: readonly Float32Array[];
  /** Texts to be guessed at, as `text`; present for masked language modelling. */
  readonly mlm?: { readonly sequence: Int32Array; readonly labels: Int32Array };
  /** Two views of each picture, as `image`, and the patches kept; present for visual self-supervision. */
  readonly ssl?: {
    readonly views: readonly Float32Array[];
    readonly patchIndices?: readonly Int32Array[];
  };
  /** [B, B] (text, image): 1 where the pair is no negative. */
  readonly excluded: Uint8Array;
}

/** What a step found. */
export interface StepResult {
  readonly loss: number;
  /** The parts of the loss by name, before they are weighed. */
  readonly terms: Readonly<Record<string, number>>;
  /** Global norm of the gradients before clipping; nothing was learnt if it is not finite. */
  readonly gradientNorm: number;
}

/** What {@link TrainingStep.compile} needs. */
export interface TrainingStepOptions {
  readonly clip: CLIP;
  readonly batchSize: number;
  readonly textLength: number;
  /** How many more views of texts and pictures a batch has; default 0. */
  readonly augTexts?: number;
  readonly augImages?: number;
  /** Starting values by name. */
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly optimizer?: OptimizerOptions;
  /** Names of parameters that are never learnt: no gradients are computed for them. Default: none. */
  readonly frozen?: ReadonlySet<string>;
  readonly loss?: Omit<LossOptions, "excluded">;
  readonly runtime?: RuntimeOptions;
}

const gradientOf = (name: string) => `gradient of ${name}`;
const newValueOf = (name: string) => `new value of ${name}`;
const termOf = (name: string) => `term ${name}`;

/** Forward, backward and update for batches of one size: loss and gradients are one program. */
export class TrainingStep {
  readonly optimizer: Optimizer;
  /**
   * Values that no gradient changes, by name: batch norm's statistics, for example, and parameters that
   * are frozen or that the loss does not depend on.
   */
  readonly buffers: ReadonlyMap<string, Float32Array>;
  readonly #program: Program;
  readonly #terms: readonly string[];
  readonly #feeds: Readonly<Record<string, Data>>;
  /** The optimizer's own memory, which the program writes gradients into. */
  readonly #into: Readonly<Record<string, Data>>;
  /** Where the program writes buffers' new values: they count only if the step does. */
  readonly #newBuffers: ReadonlyMap<string, Float32Array>;

  private constructor(
    program: Program,
    optimizer: Optimizer,
    buffers: ReadonlyMap<string, Float32Array>,
    changed: ReadonlySet<string>,
    terms: readonly string[],
  ) {
    this.optimizer = optimizer;
    this.buffers = buffers;
    this.#program = program;
    this.#terms = terms;
    this.#feeds = Object.fromEntries([...buffers, ...optimizer.parameters]);
    this.#newBuffers = new Map(
      [...changed].map((name) => [name, new Float32Array(buffers.get(name)!.length)]),
    );
    this.#into = Object.fromEntries([
      ...[...optimizer.gradients].map(([name, gradient]) => [gradientOf(name), gradient] as const),
      ...[...this.#newBuffers].map(([name, values]) => [newValueOf(name), values] as const),
    ]);
  }

  static async compile(options: TrainingStepOptions): Promise<TrainingStep> {
    const { clip, batchSize, textLength, weights, frozen, runtime } = options;
    const { augTexts = 0, augImages = 0 } = options;
    const inputs = clip.inputs(batchSize, { textLength, training: true, augTexts, augImages });
    const excluded = input("excluded", [batchSize, batchSize], "bool");
    const { loss, terms, buffers: changed } = clip.losses(inputs, { ...options.loss, excluded });
    const thawed = [...clip.parameters].filter(([name]) => !frozen?.has(name));
    const gradients = parameterGradients(loss, new Map(thawed));
    const outputs: (readonly [string, Tensor])[] = [
      ...Object.entries(terms).map(([name, term]) => [termOf(name), term] as const),
      ...[...gradients].map(([name, gradient]) => [gradientOf(name), gradient] as const),
      ...[...changed].map(([name, value]) => [newValueOf(name), value] as const),
    ];
    const program = await Program.compile(graph({ loss, ...Object.fromEntries(outputs) }), runtime);
    const values = new Map<string, { shape: readonly number[]; values: Float32Array }>();
    const buffers = new Map<string, Float32Array>();
    for (const [name, { shape }] of clip.parameters) {
      if (gradients.has(name)) values.set(name, { shape, values: weights.get(name)! });
      else buffers.set(name, weights.get(name)!.slice());
    }
    return new TrainingStep(
      program,
      new Optimizer(values, options.optimizer),
      buffers,
      new Set(changed.keys()),
      Object.keys(terms),
    );
  }

  /**
   * Learns from one batch. Where loss or gradients are not finite, nothing is learnt.
   */
  async run(batch: Batch, options: StepOptions): Promise<StepResult> {
    const found = await this.#program.run({ ...this.#feeds, ...batchFeeds(batch) }, this.#into);
    const scalar = (name: string) => (found[name] as Float32Array)[0]!;
    const loss = scalar("loss");
    const terms = Object.fromEntries(this.#terms.map((name) => [name, scalar(termOf(name))]));
    if (!Number.isFinite(loss)) return { loss, terms, gradientNorm: Number.NaN };
    const { gradientNorm } = this.optimizer.step(options);
    if (Number.isFinite(gradientNorm)) {
      for (const [name, values] of this.#newBuffers) this.buffers.get(name)!.set(values);
    }
    return { loss, terms, gradientNorm };
  }

  /** All values of the model as they are being trained, by name; views that the next step changes. */
  get weights(): ReadonlyMap<string, Float32Array> {
    return new Map([...this.buffers, ...this.optimizer.parameters]);
  }

  /** As `weights`, but running means where the optimizer keeps them: what a model should be made of. */
  get averagedWeights(): ReadonlyMap<string, Float32Array> {
    return new Map([...this.weights, ...(this.optimizer.means ?? [])]);
  }

  async release(): Promise<void> {
    await this.#program.release();
  }
}

/** A batch's arrays by the names of {@link CLIP.inputs}: `ssl.views.0` for the first of `ssl.views`. */
function batchFeeds(batch: Batch): Record<string, Data> {
  const feeds: Record<string, Data> = {};
  const collect = (name: string, value: unknown): void => {
    if (ArrayBuffer.isView(value)) feeds[name] = value as Data;
    else if (typeof value === "object" && value !== null) {
      for (const [key, part] of Object.entries(value)) collect(`${name}.${key}`, part);
    }
  };
  for (const [name, value] of Object.entries(batch)) collect(name, value);
  return feeds;
}
