import { gradientOf } from "../clip/index.js";
import { graph, input } from "../graph/index.js";
import { parameterGradients } from "../nn/index.js";
import { Program } from "../runtime/index.js";
import { type Batch, batchFeeds, type ChunkedBatch, inMemory } from "./batch.js";
import { newValueOf, renamed } from "./graph-names.js";
import { excludedPairs, pairMask } from "./identities.js";
import {
  type Arrays,
  type FoundLoss,
  type LossGradients,
  type LossGradientsOptions,
  stepRuntime,
} from "./loss-gradients.js";

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
    const outputs = {
      loss,
      ...renamed(Object.entries(terms), termOf),
      ...renamed(gradients, gradientOf),
      ...renamed(buffers, newValueOf),
    };
    const program = await Program.compile(graph(outputs), stepRuntime(runtime));
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
    const found = await this.#program.run(
      {
        ...Object.fromEntries(values),
        ...batchFeeds(await inMemory(batch, this.#batchSize)),
        excluded: pairMask(pairs, this.#batchSize),
      },
      { ...renamed(gradients, gradientOf), ...renamed(newValues, newValueOf) },
    );
    const scalar = (name: string) => (found[name] as Float32Array)[0]!;
    const terms = Object.fromEntries(this.#terms.map((name) => [name, scalar(termOf(name))]));
    return { loss: scalar("loss"), terms };
  }

  async release(): Promise<void> {
    await this.#program.release();
  }
}
