import {
  type AugmentOptions,
  type LoadedPictures,
  PictureLoader,
  type PictureRequest,
  type Sample,
  type SampleStream,
  type SkipLog,
  type StreamedSample,
  type StreamPosition,
} from "../data/index.js";
import { type Communicator, solo } from "../distributed/index.js";
import { pictureFormat } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import {
  type Batch,
  type BatchPictures,
  type ChunkedBatch,
  evenChunks,
  type Range,
  withPictures,
} from "./batch.js";
import { BatchTexts, type TextOptions } from "./batch-texts.js";
import { DecodedSamplesReader } from "./decoded-samples.js";
import { identitiesOf } from "./identities.js";
import { ownRange } from "./ranks.js";

/** What {@link BatchSource} draws from. */
export interface BatchSourceOptions extends TextOptions {
  readonly stream: SampleStream;
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
  readonly position: StreamPosition;
}

/** Batches prepared ahead of need: as many as this ... */
const MOST_AHEAD = 4;
/** ... or as take this many bytes of pixels, if they are fewer. */
const AHEAD_BYTES = 2 ** 30;

/**
 * Makes the batches of one step after the other. Samples come from a stream; which of their captions and
 * patches are taken is a function of the seed and the step, and how a picture is changed one of the seed,
 * its name and the epoch. So a stream opened where it stood after a batch gives the very next one.
 */
export class BatchSource {
  readonly #options: BatchSourceOptions;
  readonly #loader: PictureLoader;
  readonly #samples: DecodedSamplesReader;
  readonly #chunks: readonly Range[];
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
    const { chunkSize = batchSize } = options;
    this.#chunks = evenChunks(batchSize, chunkSize);
    this.#texts = new BatchTexts(options, ownRange(batchSize, options.communicator ?? solo()));
    const count = Math.min(chunkSize, batchSize);
    const pixels = count * format.channels * format.size ** 2 * (1 + views.length);
    this.#samples = new DecodedSamplesReader({
      stream: options.stream,
      loader: this.#loader,
      requestOf: (sample) => this.#requestOf(sample),
      count,
      ahead: Math.max(1, Math.min(MOST_AHEAD, Math.floor(AHEAD_BYTES / (4 * pixels)))),
      log: options.log,
      communicator: options.communicator,
    });
    this.#step = options.firstStep ?? 0;
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
   * @throws ClipsmithError when no more samples can be had, or too many are skipped
   */
  async next(): Promise<PreparedBatch> {
    const { augImages, excludeDuplicates } = this.#options;
    const { samples, position, fingerprints, pictures } = await this.#nextSamples();
    const step = this.#step++;
    const { captions, ...texts } = this.#texts.of(samples, step);
    const patchIndices = this.#patchIndices(samples.length * (1 + augImages), step, "patches");
    const sslPatches = this.#sslPatches(samples.length, step);
    const batch: Omit<ChunkedBatch, "pictures"> = {
      ...texts,
      ...(patchIndices && { patchIndices }),
      ...(sslPatches && { ssl: { patchIndices: sslPatches } }),
      ...(excludeDuplicates && { identities: identitiesOf(samples, captions, fingerprints) }),
    };
    const names = samples.map(({ name }) => name);
    const again = (range: Range) => this.#again(samples.slice(...range));
    return {
      batch: pictures ? withPictures(batch, pictures) : { ...batch, pictures: again },
      names,
      position,
    };
  }

  /** The samples of a batch, and their pictures if a batch is one chunk of one rank. */
  async #nextSamples() {
    const [first, ...more] = this.#chunks as readonly [Range, ...Range[]];
    const whole = await this.#samples.next(first[1] - first[0]);
    if (more.length === 0 && !this.#options.communicator) {
      return { ...whole, pictures: this.#picturesOf(whole) };
    }
    // Pictures are decoded here to know which can be, and dropped: {@link #again}.
    const samples = [...whole.samples];
    const fingerprints = [...whole.fingerprints];
    let { position } = whole;
    for (const [start, end] of more) {
      const next = await this.#samples.next(end - start);
      samples.push(...next.samples);
      fingerprints.push(...next.fingerprints);
      ({ position } = next);
    }
    return {
      samples,
      fingerprints: Float64Array.from(fingerprints),
      position,
      pictures: undefined,
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

  /** Pictures once more: a change depends on the sample and its epoch alone, so they are the same. */
  async #again(samples: readonly StreamedSample[]): Promise<BatchPictures> {
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
    await this.#options.stream.close();
    await this.#loader.close();
  }

  #requestOf(sample: StreamedSample): PictureRequest {
    const { name, picture, epoch } = sample;
    const { seed } = this.#options;
    return { picture, augmentKey: [seed, "augment", name, epoch], ...this.#blend(sample) };
  }

  /** Which picture is mixed into a sample's, if any. */
  #blend(sample: StreamedSample): Pick<PictureRequest, "blend"> {
    const { seed, blend } = this.#options;
    if (blend === 0) return {};
    const stream = random(seed, "blend", sample.name, sample.epoch);
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
