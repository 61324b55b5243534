import { graph, input, type Tensor } from "../graph/index.js";
import { parameterGradients } from "../nn/index.js";
import { Program } from "../runtime/index.js";
import { type Batch, batchFeeds, type ChunkedBatch, inMemory } from "./batch.js";
import { excludedPairs, pairMask } from "./identities.js";
import type { Arrays, FoundLoss, LossGradients, LossGradientsOptions } from "./loss-gradients.js";

const gradientOf = (name: string) => `gradient of ${name}`;
const newValueOf = (name: string) => `new value of ${name}`;
const termOf = (name: string) => `term ${name}`;

/** A batch's loss and gradients as one program, which holds all of the batch at once. */
export class FusedGradients implements LossGradients {
  readonly learnt: ReadonlySet<string>;
  readonly changed: ReadonlySet<string>;
  readonly #batchSize: number;
  readonly #terms: readonly string[];
  readonly #program: Program;

  private constructor(
    batchSize: number,
    terms: readonly string[],
    learnt: Iterable<string>,
    changed: Iterable<string>,
    program: Program,
  ) {
    this.#batchSize = batchSize;
    this.#terms = terms;
    this.learnt = new Set(learnt);
    this.changed = new Set(changed);
    this.#program = program;
  }

  static async compile(options: LossGradientsOptions): Promise<FusedGradients> {
    const { clip, batchSize, textLength, frozen, runtime } = options;
    const { augTexts = 0, augImages = 0 } = options;
    const inputs = clip.inputs(batchSize, { textLength, training: true, augTexts, augImages });
    const excluded = input("excluded", [batchSize, batchSize], "bool");
    const { loss, terms, buffers } = clip.losses(inputs, { ...options.loss, excluded });
    const thawed = [...clip.parameters].filter(([name]) => !frozen?.has(name));
    const gradients = parameterGradients(loss, new Map(thawed));
    const outputs: (readonly [string, Tensor])[] = [
      ...Object.entries(terms).map(([name, term]) => [termOf(name), term] as const),
      ...[...gradients].map(([name, gradient]) => [gradientOf(name), gradient] as const),
      ...[...buffers].map(([name, value]) => [newValueOf(name), value] as const),
    ];
    const program = await Program.compile(graph({ loss, ...Object.fromEntries(outputs) }), runtime);
    return new FusedGradients(
      batchSize,
      Object.keys(terms),
      gradients.keys(),
      buffers.keys(),
      program,
    );
  }

  async run(
    batch: Batch | ChunkedBatch,
    values: Arrays,
    gradients: Arrays,
    newValues: Arrays,
  ): Promise<FoundLoss> {
    const pairs = batch.identities ? excludedPairs(batch.identities) : new Int32Array();
    const into = [
      ...[...gradients].map(([name, gradient]) => [gradientOf(name), gradient] as const),
      ...[...newValues].map(([name, value]) => [newValueOf(name), value] as const),
    ];
    const found = await this.#program.run(
      {
        ...Object.fromEntries(values),
        ...batchFeeds(await inMemory(batch, this.#batchSize)),
        excluded: pairMask(pairs, this.#batchSize),
      },
      Object.fromEntries(into),
    );
    const scalar = (name: string) => (found[name] as Float32Array)[0]!;
    const terms = Object.fromEntries(this.#terms.map((name) => [name, scalar(termOf(name))]));
    return { loss: scalar("loss"), terms };
  }

  async release(): Promise<void> {
    await this.#program.release();
  }
}
