import type { CLIP } from "../clip/index.js";
import { PictureLoader, type Skipped, type SourceSample, type Tokenizer } from "../data/index.js";
import { canonical } from "../eval/evaluate.js";
import { retrieval } from "../eval/recall.js";
import { graph, input } from "../graph/index.js";
import { type ModelConfig, pictureFormat, textEncoding } from "../model/index.js";
import { Program, type RuntimeOptions } from "../runtime/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { ValidationMetric } from "./early-stop.js";
import { excludedPairs, identitiesOf, pairMask } from "./identities.js";

/** What {@link Validation.open} is told. */
export interface ValidationOptions {
  readonly clip: CLIP;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Of each, the first caption counts. */
  readonly samples: readonly SourceSample[];
  /** Pairs that the loss compares at a time: those of a training batch, so that losses can be compared. */
  readonly batchSize: number;
  /** Pictures of more pixels are left out; default: the loader's. */
  readonly maxPixels?: number;
  readonly runtime?: RuntimeOptions;
  /** Called after each batch, of reading and of measuring. */
  readonly onBatch?: () => void;
}

/** How a model does on samples that it does not learn from. */
export type ValidationFigures = Readonly<Record<ValidationMetric, number>>;

/**
 * Measures a model that is being trained: its loss on whole pictures, without dropout, views or
 * self-supervision, and how well texts and pictures find each other, as `evaluate` counts it. One program
 * does both, a batch at a time; scores are never all in memory.
 */
export class Validation {
  /** Pictures that could not be read. */
  readonly skipped: readonly Skipped[];
  readonly #options: ValidationOptions;
  readonly #samples: readonly SourceSample[];
  readonly #batchSize: number;
  readonly #loader: PictureLoader;
  readonly #program: Program;

  private constructor(
    options: ValidationOptions,
    samples: readonly SourceSample[],
    skipped: readonly Skipped[],
    loader: PictureLoader,
    program: Program,
  ) {
    this.skipped = skipped;
    this.#options = options;
    this.#samples = samples;
    this.#batchSize = Math.min(options.batchSize, samples.length);
    this.#loader = loader;
    this.#program = program;
  }

  /**
   * Reads all pictures once and compiles the program.
   *
   * @throws ClipsmithError when fewer than two pictures can be read
   */
  static async open(options: ValidationOptions): Promise<Validation> {
    const { clip, config, batchSize, maxPixels, runtime } = options;
    const loader = new PictureLoader({ ...pictureFormat(config), ...(maxPixels && { maxPixels }) });
    try {
      const { samples, skipped } = await readable(loader, options);
      const size = Math.min(batchSize, samples.length);
      const inputs = clip.inputs(size, { textLength: config.clip.textSeqLen });
      const excluded = input("excluded", [size, size], "bool");
      const { loss } = clip.losses(inputs, { excluded });
      const texts = clip.embedText(inputs.text);
      const pictures = clip.embedImage(inputs.image);
      const program = await Program.compile(graph({ loss, texts, pictures }), runtime);
      return new Validation(options, samples, skipped, loader, program);
    } catch (error) {
      await loader.close();
      throw error;
    }
  }

  /** How many pictures it measures with. */
  get size(): number {
    return this.#samples.length;
  }

  /**
   * The figures of a model with these weights. The loss is the mean over whole batches; samples left over
   * count in the recalls alone.
   */
  async run(weights: ReadonlyMap<string, Float32Array>): Promise<ValidationFigures> {
    const { tokenizer, config } = this.#options;
    const width = config.clip.dimLatent;
    const size = this.#batchSize;
    const count = this.#samples.length;
    const texts = new Float32Array(count * width);
    const pictures = new Float32Array(count * width);
    const feeds = Object.fromEntries(weights);
    let lossSum = 0;
    for (let start = 0; start < count; start += size) {
      // The last batch is filled up with earlier samples, which are measured again.
      const from = Math.min(start, count - size);
      const batch = this.#samples.slice(from, from + size);
      const captions = batch.map((sample) => sample.captions[0]!);
      const { pixels, fingerprints } = await this.#loader.load(batch);
      const found = await this.#program.run({
        ...feeds,
        text: tokenizer.encodeBatch(captions, config.clip.textSeqLen, textEncoding(config)),
        image: pixels,
        excluded: pairMask(excludedPairs(identitiesOf(batch, [captions], fingerprints)), size),
      });
      if (from === start) lossSum += (found.loss as Float32Array)[0]!;
      texts.set(found.texts as Float32Array, from * width);
      pictures.set(found.pictures as Float32Array, from * width);
      this.#options.onBatch?.();
    }
    const recall = this.#recall(texts, pictures, width);
    const figures = { loss: lossSum / Math.floor(count / size), ...recall };
    return figures as ValidationFigures;
  }

  /** Each distinct caption counts once, and has all pictures with it as right answers. */
  #recall(texts: Float32Array, pictures: Float32Array, width: number): Record<string, number> {
    const queries = new Map<string, { readonly row: number; readonly pictures: number[] }>();
    for (const [row, { captions }] of this.#samples.entries()) {
      const key = canonical(captions[0]!);
      const query = queries.get(key) ?? { row, pictures: [] };
      queries.set(key, query);
      query.pictures.push(row);
    }
    const distinct = [...queries.values()];
    const rows = new Float32Array(distinct.length * width);
    for (const [i, { row }] of distinct.entries()) {
      rows.set(texts.subarray(row * width, (row + 1) * width), i * width);
    }
    const { textToImage, imageToText } = retrieval({
      texts: rows,
      pictures,
      width,
      positives: (text) => distinct[text]!.pictures,
    });
    const figures: Record<string, number> = {};
    for (const [direction, { r1, r5, r10 }] of Object.entries({ textToImage, imageToText })) {
      for (const [cutoff, recall] of Object.entries({ r1, r5, r10 })) {
        figures[`${direction}.${cutoff}`] = recall;
      }
    }
    return figures;
  }

  async release(): Promise<void> {
    await this.#program.release();
    await this.#loader.close();
  }
}

/** The samples whose pictures can be read. Decoded pictures stay in the loader's memory, as far as it goes. */
async function readable(
  loader: PictureLoader,
  { samples, batchSize, onBatch }: ValidationOptions,
): Promise<{ samples: SourceSample[]; skipped: Skipped[] }> {
  const kept: SourceSample[] = [];
  const skipped: Skipped[] = [];
  for (let start = 0; start < samples.length; start += batchSize) {
    const batch = samples.slice(start, start + batchSize);
    const { failed } = await loader.load(batch);
    const reasons = new Map(failed.map(({ index, reason }) => [index, reason]));
    for (const [index, sample] of batch.entries()) {
      const reason = reasons.get(index);
      if (reason === undefined) kept.push(sample);
      else skipped.push({ where: sample.name, reason });
    }
    onBatch?.();
  }
  if (kept.length >= 2) return { samples: kept, skipped };
  throw new ClipsmithError(
    `Validation needs at least two pictures that can be read; found ${kept.length}. The first of ` +
      `${skipped.length} others: ${skipped[0]!.reason}`,
  );
}
