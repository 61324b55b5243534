import {
  type AugmentOptions,
  type LoadedPictures,
  PictureLoader,
  type PictureRequest,
  type Sample,
  type SampleStream,
  type SkipLog,
  type StreamedSample,
  shortName,
} from "../data/index.js";
import { type Communicator, solo } from "../distributed/index.js";
import { pictureFormat } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { type Batch, type BatchPictures, type ChunkedBatch, withPictures } from "./batch.js";
import { BatchSamples, type SamplesOfBatch } from "./batch-samples.js";
import { BatchTexts, type TextOptions } from "./batch-texts.js";
import { EqualPictures } from "./equal-pictures.js";
import { identitiesOf } from "./identities.js";
import { ownRange } from "./ranks.js";
import type { RunPosition } from "./readers.js";

/** What {@link BatchSource} draws from. */
export interface BatchSourceOptions extends TextOptions {
  /** Of this rank's readers, see {@link ownReaders}. */
  readonly streams: readonly SampleStream[];
  /** How many readers there are on all ranks; default: one, which all of them are. */
  readonly readers?: number;
  /** The first step to make a batch for, counted from 0; default 0. */
  readonly firstStep?: number;
  readonly batchSize: number;
  /** Most pairs whose pictures are in memory at once; default: all of a batch. */
  readonly chunkSize?: number | undefined;
  /** Ranks that share every batch, each with the pictures of its own part; default: this process alone. */
  readonly communicator?: Communicator | undefined;
  readonly augment: AugmentOptions;
  /** Changes of the two views that visual self-supervision compares. */
  readonly sslAugment: AugmentOptions;
  /** How many more views of each picture there are. */
  readonly augImages: number;
  /** Whether equal pictures and shared captions are no negatives of each other. */
  readonly excludeDuplicates: boolean;
  /** Probability that a picture is mixed with another of `blended` that has the same captions. */
  readonly blend: number;
  readonly blended?: readonly Sample[];
  /** Is told of every entry of the stream. */
  readonly log: SkipLog;
  /** See {@link trainingOptionsSchema}. */
  readonly workers: number;
  readonly maxPixels: number;
}

/** A batch, and where the stream of samples stands after it. */
export interface PreparedBatch {
  readonly batch: Batch | ChunkedBatch;
  /** Of its samples. */
  readonly names: readonly string[];
  readonly position: RunPosition;
}

/**
 * Makes the batches of one step after the other. Samples come from streams; which of their captions and
 * patches are taken is a function of the seed and the step, and how a picture is changed one of the seed,
 * its name and the epoch. So streams opened where they stood after a batch give the very next one.
 */
export class BatchSource {
  /** What is known of equal pictures in the batches so far. */
  readonly equalPictures: EqualPictures;
  readonly #options: BatchSourceOptions;
  readonly #loader: PictureLoader;
  readonly #samples: BatchSamples;
  readonly #texts: BatchTexts;
  /** Samples that have the same captions, by those captions. */
  readonly #alike = new Map<string, Sample[]>();
  #step: number;

  constructor(options: BatchSourceOptions) {
    this.#options = options;
    const { clip, augment, sslAugment, augImages, batchSize, blend, blended = [] } = options;
    const { workers, maxPixels } = options;
    const ssl = clip.sslPasses > 0 ? [sslAugment, sslAugment] : [];
    const format = pictureFormat(options.config);
    const views = [...Array<AugmentOptions>(augImages).fill(augment), ...ssl];
    this.#loader = new PictureLoader({ ...format, workers, maxPixels, augment, views });
    this.#texts = new BatchTexts(options, ownRange(batchSize, options.communicator ?? solo()));
    this.#samples = new BatchSamples({
      streams: options.streams,
      readers: options.readers ?? 1,
      communicator: options.communicator,
      batchSize,
      chunkSize: options.chunkSize ?? batchSize,
      loader: this.#loader,
      requestOf: (sample) => this.#requestOf(sample),
      pictureNumbers: format.channels * format.size ** 2 * (1 + views.length),
      log: options.log,
    });
    this.#step = options.firstStep ?? 0;
    this.equalPictures = new EqualPictures(this.#step === 0);
    if (blend === 0) return;
    for (const sample of blended) {
      const key = captionKey(sample);
      const alike = this.#alike.get(key) ?? [];
      this.#alike.set(key, alike);
      alike.push(sample);
    }
  }

  /**
   * The batch of the next step. Calls are made one after the other.
   *
   * @throws ClipsmithError when no more samples can be had, too many are skipped, or all pictures are equal
   */
  async next(): Promise<PreparedBatch> {
    const { augImages, excludeDuplicates } = this.#options;
    const { samples, own, position, fingerprints, pictures } = await this.#samples.next();
    const step = this.#step++;
    const { captions, ...texts } = this.#texts.of(samples, step);
    const patchIndices = this.#patchIndices(samples.length * (1 + augImages), step, "patches");
    const sslPatches = this.#sslPatches(samples.length, step);
    const identities = excludeDuplicates
      ? identitiesOf(samples, captions, fingerprints)
      : undefined;
    this.equalPictures.see(samples, fingerprints, identities);
    const batch: Omit<ChunkedBatch, "pictures"> = {
      ...texts,
      ...(patchIndices && { patchIndices }),
      ...(sslPatches && { ssl: { patchIndices: sslPatches } }),
      ...(identities && { identities }),
    };
    const names = samples.map(({ name }) => name);
    return {
      batch: pictures
        ? withPictures(batch, this.#picturesOf(pictures))
        : { ...batch, pictures: ([start, end]) => this.#again(own, start, end) },
      names,
      position,
    };
  }

  #picturesOf({ pixels, views }: Pick<LoadedPictures, "pixels" | "views">): BatchPictures {
    const { augImages, clip } = this.#options;
    return {
      image: pixels,
      ...(augImages > 0 && { augImage: views.slice(0, augImages) }),
      ...(clip.sslPasses > 0 && { ssl: { views: views.slice(augImages) } }),
    };
  }

  /**
   * Pictures once more, which were decoded to know which can be: a change depends on the sample and its epoch
   * alone, so they are the same.
   */
  async #again(own: SamplesOfBatch["own"], start: number, end: number): Promise<BatchPictures> {
    const samples = own.samples.slice(start - own.start, end - own.start);
    const loaded = await this.#loader.load(samples.map((sample) => this.#requestOf(sample)));
    const [failed] = loaded.failed;
    if (failed === undefined) return this.#picturesOf(loaded);
    throw new ClipsmithError(
      `${samples[failed.index]!.name} could be read when its batch began, and cannot any more: ` +
        `${failed.reason} Leave a collection as it is while it is trained on.`,
    );
  }

  /** The patches kept in each pass of visual self-supervision. */
  #sslPatches(count: number, step: number): Int32Array[] | undefined {
    const { clip } = this.#options;
    if (clip.sslPasses === 0 || clip.keptPatches === clip.patches) return undefined;
    return Array.from(
      { length: clip.sslPasses },
      (_, pass) => this.#patchIndices(count, step, `ssl patches ${pass}`)!,
    );
  }

  /** Ends what reads samples and pictures. */
  async close(): Promise<void> {
    await Promise.all(this.#options.streams.map((stream) => stream.close()));
    await this.#loader.close();
  }

  #requestOf(sample: StreamedSample): PictureRequest {
    const { name, picture, epoch } = sample;
    const { seed } = this.#options;
    const augmentKey = [seed, "augment", shortName(name), epoch];
    return { picture, augmentKey, ...this.#blend(sample) };
  }

  /** Which picture is mixed into a sample's, if any. */
  #blend(sample: StreamedSample): Pick<PictureRequest, "blend"> {
    const { seed, blend } = this.#options;
    if (blend === 0) return {};
    const stream = random(seed, "blend", shortName(sample.name), sample.epoch);
    if (stream.uniform() >= blend) return {};
    const alike = this.#alike.get(captionKey(sample))!;
    const { picture } = alike[stream.integer(alike.length)]!;
    return picture === sample.picture ? {} : { blend: { picture, weight: stream.uniform() } };
  }

  /** For each of `count` pictures, which patches are kept, in drawn order. */
  #patchIndices(count: number, step: number, name: string): Int32Array | undefined {
    const { seed, clip } = this.#options;
    const { patches, keptPatches } = clip;
    if (keptPatches === patches) return undefined;
    const stream = random(seed, name, step);
    const indices = new Int32Array(count * keptPatches);
    for (let row = 0; row < count; row++) {
      const order = stream.permutation(patches).subarray(0, keptPatches);
      indices.set(order, row * keptPatches);
    }
    return indices;
  }
}

function captionKey({ captions }: Pick<Sample, "captions">): string {
  return captions.join("\n");
}
