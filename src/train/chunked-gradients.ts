import { CLIP, type LossTerms } from "../clip/index.js";
import { type Communicator, solo } from "../distributed/index.js";
import { type Data, elementCount } from "../graph/index.js";
import { ClipsmithError } from "../util/errors.js";
import {
  type Batch,
  batchFeeds,
  type ChunkedBatch,
  chunkFeeds,
  evenChunks,
  inChunks,
  type Range,
  rowsOf,
} from "./batch.js";
import { excludedPairs } from "./identities.js";
import { flatViews, type Latents, viewsOf } from "./latents.js";
import type { Arrays, FoundLoss, LossGradients, LossGradientsOptions } from "./loss-gradients.js";
import { RankSum } from "./rank-sum.js";
import { ownRange } from "./ranks.js";
import { imageGraph, Side, textGraph } from "./side.js";
import type { Band } from "./tile-pass.js";
import { TiledObjective } from "./tiled-objective.js";

/** What {@link ChunkedGradients} needs. */
export interface ChunkedGradientsOptions extends LossGradientsOptions {
  /** Most pairs that the encoders see at once. */
  readonly chunkSize: number;
  /** See {@link TiledObjective.open}. */
  readonly tileSize?: number;
  /** The ranks that share the batch; default: this process alone. */
  readonly communicator?: Communicator;
}

/** A chunk of a batch. */
interface Chunk {
  readonly range: Range;
  /** The same, counted from the first pair that this rank answers for. */
  readonly own: Range;
  readonly rows: number;
  /** What it feeds to a side. */
  feeds(side: Side): Promise<Readonly<Record<string, Data>>>;
}

/**
 * A batch's loss and gradients in three graphs, in the memory of a chunk (GradCache, Gao et al., 2021):
 * every chunk is encoded, the objective gives the gradients of all latents, and every chunk is run again
 * to pull them back to the parameters. The gradients are those of the whole batch.
 *
 * Ranks share a batch: each encodes its own part of it, has the latents of all, and finds the gradients
 * of its own; those of the parameters are summed over ranks. So they, too, are those of the whole batch.
 *
 * Two things are of the chunk, because they compare pictures inside a pass: batch norm's statistics, and
 * SimCLR's negatives.
 */
export class ChunkedGradients implements LossGradients {
  readonly learnt: ReadonlySet<string>;
  readonly changed: ReadonlySet<string>;
  readonly #options: ChunkedGradientsOptions;
  readonly #terms: readonly (keyof LossTerms)[];
  readonly #texts: Side;
  readonly #images: Side;
  readonly #objective: TiledObjective;
  readonly #communicator: Communicator;
  /** The part of the batch that this rank answers for. */
  readonly #own: Range;
  /** The chunks of it, counted from its first pair. */
  readonly #chunks: readonly Range[];
  readonly #sums: RankSum;
  /** A chunk's gradients, until they are added to those of the chunks before it. */
  readonly #ofChunk: Arrays;

  private constructor(options: ChunkedGradientsOptions, objective: TiledObjective) {
    const { clip, frozen, runtime, loss = {} } = options;
    const { textLength, augTexts = 0, augImages = 0 } = options;
    const learnable = [...clip.parameters].filter(
      ([name, { trainable }]) => trainable && !frozen?.has(name),
    );
    const parameters = new Map(learnable.map(([name, { tensor }]) => [name, tensor]));
    this.#options = options;
    this.#objective = objective;
    this.#communicator = options.communicator ?? solo();
    this.#own = ownRange(options.batchSize, this.#communicator);
    this.#sums = new RankSum(this.#communicator);
    this.#chunks = evenChunks(this.#ownCount, options.chunkSize);
    const sizes = this.#chunks.map(([start, end]) => end - start).sort((a, b) => a - b);
    // They differ by one at most, so most chunks have the size of the one in the middle.
    const commonRows = sizes[sizes.length >> 1] ?? 0;
    this.#texts = new Side(
      (rows) => textGraph(clip, rows, { textLength, augTexts }, loss),
      parameters,
      commonRows,
      runtime,
    );
    this.#images = new Side(
      (rows) => imageGraph(clip, rows, { augImages }, loss),
      parameters,
      commonRows,
      runtime,
    );
    const terms: Readonly<Record<keyof LossTerms, boolean>> = {
      contrastive: true,
      multiview: augTexts + augImages > 0,
      similarityRegularisation: clip.options.simRegLossWeight > 0,
      textSsl: this.#texts.hasOwnTerm,
      imageSsl: this.#images.hasOwnTerm,
    };
    this.#terms = (Object.keys(terms) as (keyof LossTerms)[]).filter((term) => terms[term]);
    const scalars = [CLIP.logitScale, CLIP.logitBias].filter((name) => parameters.has(name));
    const ofSides = [...this.#texts.learnt, ...this.#images.learnt];
    this.learnt = new Set([...ofSides, ...scalars]);
    this.changed = new Set([...this.#texts.changed, ...this.#images.changed]);
    this.#ofChunk = new Map(
      ofSides.map((name) => [
        name,
        new Float32Array(elementCount(clip.parameters.get(name)!.shape)),
      ]),
    );
    this.#checkSizes();
  }

  /**
   * Compiles the objective; the sides are compiled when their first chunk comes.
   *
   * @throws ClipsmithError where visual self-supervision would have a single picture
   */
  static async compile(options: ChunkedGradientsOptions): Promise<ChunkedGradients> {
    const { clip, runtime, tileSize } = options;
    const objective = await TiledObjective.open({
      clip,
      ...(tileSize !== undefined && { tile: tileSize }),
      ...(runtime && { runtime }),
    });
    return new ChunkedGradients(options, objective);
  }

  async run(
    batch: Batch | ChunkedBatch,
    values: Arrays,
    gradients: Arrays,
    newValues: Arrays,
  ): Promise<FoundLoss> {
    const { clip, batchSize } = this.#options;
    const chunks = this.#chunksOf(inChunks(batch, batchSize), values);
    const weights = clip.termWeights(this.#terms);
    const weightOf = (term: keyof LossTerms) => weights.get(term) ?? 0;

    const texts = await this.#encode(this.#texts, chunks);
    const images = await this.#encode(this.#images, chunks);
    const bias = values.get(CLIP.logitBias)?.[0];
    const objective = await this.#objective.run(
      { batch: batchSize, texts: viewsOf(texts), images: viewsOf(images) },
      { temperature: values.get(CLIP.logitScale)![0]!, ...(bias !== undefined && { bias }) },
      batch.identities ? excludedPairs(batch.identities) : new Int32Array(),
      { contrastive: 1, ...Object.fromEntries(weights) },
      this.#band,
    );
    gradients.get(CLIP.logitScale)?.fill(objective.gradients.temperature);
    gradients.get(CLIP.logitBias)?.fill(objective.gradients.bias ?? 0);

    // A mean over the batch is the sum of the chunks' means, each times its share.
    const askedIn = (range: Range) =>
      batch.mlm ? clip.labelCount(rowsOf(batch.mlm.labels, batchSize, range) as Int32Array) : 0;
    const allAsked = Math.max(1, await this.#sum(askedIn(this.#own)));
    const pullBack = (
      side: Side,
      latentGradients: Latents,
      shares: readonly number[],
      weight: number,
    ) => this.#pullBack(side, chunks, latentGradients, shares, weight, gradients, newValues);
    const textSsl = await pullBack(
      this.#texts,
      flatViews<Data>("texts", objective.gradients.texts),
      chunks.map(({ range }) => askedIn(range) / allAsked),
      weightOf("textSsl"),
    );
    const imageSsl = await pullBack(
      this.#images,
      flatViews<Data>("images", objective.gradients.images),
      chunks.map(({ rows }) => rows / batchSize),
      weightOf("imageSsl"),
    );
    const ownTerms = Float64Array.of(textSsl, imageSsl);
    await this.#communicator.allReduce(ownTerms);
    await this.#sums.finish();
    // The ranks' statistics are averaged.
    for (const statistics of newValues.values()) {
      for (let i = 0; i < statistics.length; i++) statistics[i]! /= this.#communicator.size;
    }
    const found = { ...objective.terms, textSsl: ownTerms[0], imageSsl: ownTerms[1] };
    const terms = Object.fromEntries(this.#terms.map((term) => [term, found[term]!]));
    return { loss: sum(this.#terms.map((term) => weightOf(term) * terms[term]!)), terms };
  }

  async release(): Promise<void> {
    await this.#texts.release();
    await this.#images.release();
    await this.#objective.release();
  }

  #chunksOf(batch: ChunkedBatch, values: Arrays): Chunk[] {
    const { batchSize, augImages = 0 } = this.#options;
    const parameters = Object.fromEntries(values);
    const { pictures, ...inMemory } = batch;
    const all = batchFeeds(inMemory);
    const [first] = this.#own;
    return this.#chunks.map((own) => {
      const range = [first + own[0], first + own[1]] as const;
      return {
        range,
        own,
        rows: own[1] - own[0],
        feeds: async (side) => ({
          ...parameters,
          ...chunkFeeds(all, batchSize, range, 1 + augImages),
          ...(side === this.#images && batchFeeds(await pictures(range))),
        }),
      };
    });
  }

  /** The latents of the batch: of the own chunks, and what other ranks have of theirs. */
  async #encode(side: Side, chunks: readonly Chunk[]): Promise<Latents> {
    const ours: Record<string, Float32Array | Uint8Array> = {};
    for await (const { own, rows, feeds } of withFeeds(chunks, side)) {
      for (const [name, part] of Object.entries(await side.encode(feeds, rows))) {
        const length = (part.length / rows) * this.#ownCount;
        ours[name] ??=
          part instanceof Float32Array ? new Float32Array(length) : new Uint8Array(length);
        (rowsOf(ours[name], this.#ownCount, own) as Uint8Array).set(part as Uint8Array);
      }
    }
    if (this.#communicator.size === 1) return ours;
    const all: Record<string, Data> = {};
    for (const [name, values] of Object.entries(ours)) {
      all[name] = (await this.#communicator.allGather(values)).values;
    }
    return all;
  }

  /**
   * Adds up the chunks' gradients.
   *
   * @param shares what the own term of each chunk weighs in that of the batch.
   * @param weight what that weighs in the loss.
   * @returns the own term of the batch.
   */
  async #pullBack(
    side: Side,
    chunks: readonly Chunk[],
    latentGradients: Latents,
    shares: readonly number[],
    weight: number,
    gradients: Arrays,
    newValues: Arrays,
  ): Promise<number> {
    const pick = (arrays: Arrays, names: ReadonlySet<string>) =>
      new Map([...arrays].filter(([name]) => names.has(name)));
    const whole = pick(gradients, side.learnt);
    const part = pick(this.#ofChunk, side.learnt);
    const statistics = pick(newValues, side.changed);
    let ownTerm = 0;
    let i = 0;
    for await (const { own, rows, feeds } of withFeeds(chunks, side)) {
      // Statistics go on from those of the chunk before.
      const before = i > 0 ? [...statistics].map(([name, v]) => [name, v.slice()] as const) : [];
      const value = await side.pullBack(
        { ...feeds, ...Object.fromEntries(before) },
        rows,
        Object.fromEntries(
          Object.entries(latentGradients).map(([name, g]) => [
            name,
            rowsOf(g, this.#ownCount, own),
          ]),
        ),
        shares[i]! * weight,
        i === 0 ? whole : part,
        statistics,
      );
      ownTerm += shares[i]! * value;
      if (i > 0) for (const [name, gradient] of whole) addInto(gradient, part.get(name)!);
      i++;
    }
    this.#sums.begin([...whole.values(), ...statistics.values()]);
    return ownTerm;
  }

  /** The sum of a number over ranks. */
  async #sum(value: number): Promise<number> {
    const sum = Float64Array.of(value);
    await this.#communicator.allReduce(sum);
    return sum[0]!;
  }

  get #ownCount(): number {
    return this.#own[1] - this.#own[0];
  }

  /** What the objective has to know where ranks share a batch. */
  get #band(): Band | undefined {
    const [start, end] = this.#own;
    const communicator = this.#communicator;
    if (communicator.size === 1) return undefined;
    return { start, end, gather: async (values) => (await communicator.allGather(values)).values };
  }

  #checkSizes(): void {
    const { batchSize, chunkSize } = this.#options;
    const { size } = this.#communicator;
    if (batchSize < size) {
      throw new ClipsmithError(
        `A batch of ${batchSize} pairs cannot be shared by ${size} ranks: make training.batchSize larger, ` +
          "or start fewer.",
      );
    }
    const smallest = Math.min(
      ...Array.from({ length: size }, (_, rank) => {
        const [start, end] = ownRange(batchSize, { rank, size });
        return Math.floor((end - start) / Math.ceil((end - start) / chunkSize));
      }),
    );
    if (!this.#images.hasOwnTerm || smallest > 1) return;
    throw new ClipsmithError(
      `training.chunkSize is ${chunkSize}, which makes a chunk of one picture: visual self-supervision ` +
        "compares pictures and needs two at least. Make it larger.",
    );
  }
}

/** Chunks with what they feed: that of the next one is got ready while one is worked on. */
async function* withFeeds(chunks: readonly Chunk[], side: Side) {
  const start = (chunk: Chunk | undefined) => {
    const feeds = chunk?.feeds(side);
    // A failure is seen when it is the chunk's turn.
    feeds?.catch(() => {});
    return feeds;
  };
  let coming = start(chunks[0]);
  for (const [i, { own, rows }] of chunks.entries()) {
    const feeds = (await coming)!;
    coming = start(chunks[i + 1]);
    yield { own, rows, feeds };
  }
}

function addInto(target: Float32Array, addend: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i]! += addend[i]!;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
