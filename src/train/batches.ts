import { CLIP } from "../clip/index.js";
import {
  type AugmentOptions,
  PictureLoader,
  type PictureRequest,
  type Sample,
  type Skipped,
  type Tokenizer,
} from "../data/index.js";
import { type ModelConfig, pictureFormat } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import type { Batch } from "./step.js";

/** What {@link BatchSource} draws from. */
export interface BatchSourceOptions {
  readonly samples: readonly Sample[];
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly batchSize: number;
  readonly seed: number;
  readonly augment: AugmentOptions;
  /** Probability that a picture is mixed with another that has the same captions. */
  readonly blend: number;
}

/** Other pictures tried in place of one that cannot be read. */
const MAX_REPLACEMENTS = 100;

/**
 * Makes the batch of any step: which samples, which of their captions, how pictures are changed and
 * which patches are kept are all functions of the seed and the step, so a run can be resumed anywhere.
 */
export class BatchSource {
  readonly #options: BatchSourceOptions;
  readonly #clip: CLIP;
  readonly #loader: PictureLoader;
  readonly #skipped = new Map<string, string>();
  /** Samples that have the same captions, by those captions. */
  readonly #alike = new Map<string, Sample[]>();
  #order: { readonly epoch: number; readonly samples: Int32Array } | undefined;

  constructor(options: BatchSourceOptions) {
    this.#options = options;
    this.#clip = new CLIP(options.config.clip);
    const { augment } = options;
    this.#loader = new PictureLoader({ ...pictureFormat(options.config), augment });
    if (options.blend === 0) return;
    for (const sample of options.samples) {
      const key = captionKey(sample);
      const alike = this.#alike.get(key) ?? [];
      this.#alike.set(key, alike);
      alike.push(sample);
    }
  }

  /** Pictures that could not be read so far. */
  get skipped(): readonly Skipped[] {
    return [...this.#skipped].map(([where, reason]) => ({ where, reason }));
  }

  /** The batch of a step, counted from 0. */
  async batch(step: number): Promise<Batch> {
    const { batchSize, seed, tokenizer, config } = this.#options;
    const chosen = Array.from({ length: batchSize }, (_, slot) =>
      this.#sampleAt(step * batchSize + slot),
    );
    const { pixels, fingerprints } = await this.#loadPictures(chosen, step);
    const captionStream = random(seed, "caption", step);
    const captions = chosen.map(
      (sample) => sample.captions[captionStream.integer(sample.captions.length)]!,
    );
    const patchIndices = this.#patchIndices(step);
    return {
      text: tokenizer.encodeBatch(captions, config.clip.textSeqLen),
      image: pixels,
      ...(patchIndices && { patchIndices }),
      excluded: samePairs(chosen, captions, fingerprints),
    };
  }

  /** Ends the thread that reads pictures. */
  async close(): Promise<void> {
    await this.#loader.close();
  }

  /** The sample at a place of the endless sequence of shuffled epochs. */
  #sampleAt(place: number): Sample {
    const { samples, seed } = this.#options;
    const epoch = Math.floor(place / samples.length);
    if (this.#order?.epoch !== epoch) {
      const shuffled = random(seed, "epoch", epoch).permutation(samples.length);
      this.#order = { epoch, samples: shuffled };
    }
    return samples[this.#order.samples[place % samples.length]!]!;
  }

  /** Loads the chosen samples' pictures; those that fail are replaced in `chosen` by others. */
  async #loadPictures(chosen: Sample[], step: number) {
    const { samples, seed } = this.#options;
    const request = (slot: number) => ({
      picture: chosen[slot]!.picture,
      augmentKey: [seed, "augment", step, slot],
      ...this.#blend(chosen[slot]!, step, slot),
    });
    const loaded = await this.#loader.load(chosen.map((_, slot) => request(slot)));
    const length = loaded.pixels.length / chosen.length;
    for (const { index: slot, reason } of loaded.failed) {
      this.#skipped.set(chosen[slot]!.picture, reason);
      const stream = random(seed, "replacement", step, slot);
      for (let tries = 0; ; tries++) {
        if (tries === MAX_REPLACEMENTS) {
          throw new ClipsmithError(
            `${this.#skipped.size} pictures could not be read, and no other was found after ` +
              `${tries} tries. The last was ${chosen[slot]!.picture}: ${reason}`,
          );
        }
        chosen[slot] = samples[stream.integer(samples.length)]!;
        const other = await this.#loader.load([request(slot)]);
        const [failure] = other.failed;
        if (failure === undefined) {
          loaded.pixels.set(other.pixels, slot * length);
          loaded.fingerprints[slot] = other.fingerprints[0]!;
          break;
        }
        this.#skipped.set(chosen[slot]!.picture, failure.reason);
      }
    }
    return loaded;
  }

  /** Which picture is mixed into a sample's, if any. */
  #blend(sample: Sample, step: number, slot: number): Pick<PictureRequest, "blend"> {
    const { seed, blend } = this.#options;
    const stream = random(seed, "blend", step, slot);
    if (stream.uniform() >= blend) return {};
    const alike = this.#alike.get(captionKey(sample))!;
    const { picture } = alike[stream.integer(alike.length)]!;
    return picture === sample.picture ? {} : { blend: { picture, weight: stream.uniform() } };
  }

  /** For each picture, which patches are kept, in drawn order. */
  #patchIndices(step: number): Int32Array | undefined {
    const { patches, keptPatches } = this.#clip;
    if (keptPatches === patches) return undefined;
    const { batchSize, seed } = this.#options;
    const stream = random(seed, "patches", step);
    const indices = new Int32Array(batchSize * keptPatches);
    for (let row = 0; row < batchSize; row++) {
      const order = stream.permutation(patches).subarray(0, keptPatches);
      indices.set(order, row * keptPatches);
    }
    return indices;
  }
}

function captionKey({ captions }: Sample): string {
  return captions.join("\n");
}

/**
 * Marks pairs (text, image) of different samples that nevertheless belong together: the caption is also
 * one of the other picture's, or the pictures are equal.
 */
function samePairs(
  samples: readonly Sample[],
  captions: readonly string[],
  fingerprints: Float64Array,
): Uint8Array {
  const count = samples.length;
  const captionSets = new Map(samples.map(({ captions }) => [captions, new Set(captions)]));
  const marks = new Uint8Array(count * count);
  for (let text = 0; text < count; text++) {
    for (let image = 0; image < count; image++) {
      if (text === image) continue;
      const same =
        fingerprints[text] === fingerprints[image] ||
        captionSets.get(samples[image]!.captions)!.has(captions[text]!);
      if (same) marks[text * count + image] = 1;
    }
  }
  return marks;
}
