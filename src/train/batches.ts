import type { CLIP } from "../clip/index.js";
import {
  type AugmentOptions,
  drawMask,
  maskTokens,
  PictureLoader,
  type PictureRequest,
  type Sample,
  type Skipped,
  type Tokenizer,
} from "../data/index.js";
import { type ModelConfig, pictureFormat, textEncoding } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { type Random, random } from "../util/random.js";
import type { Batch } from "./step.js";

/** What {@link BatchSource} draws from. */
export interface BatchSourceOptions {
  readonly samples: readonly Sample[];
  readonly clip: CLIP;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly batchSize: number;
  readonly seed: number;
  readonly augment: AugmentOptions;
  /** Changes of the two views that visual self-supervision compares. */
  readonly sslAugment: AugmentOptions;
  /** How many more views of each text and of each picture there are. */
  readonly augTexts: number;
  readonly augImages: number;
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
  readonly #loader: PictureLoader;
  readonly #skipped = new Map<string, string>();
  /** Samples that have the same captions, by those captions. */
  readonly #alike = new Map<string, Sample[]>();
  #order: { readonly epoch: number; readonly samples: Int32Array } | undefined;

  constructor(options: BatchSourceOptions) {
    this.#options = options;
    const { clip, augment, sslAugment, augImages } = options;
    const ssl = clip.sslPasses > 0 ? [sslAugment, sslAugment] : [];
    this.#loader = new PictureLoader({
      ...pictureFormat(options.config),
      augment,
      views: [...Array<AugmentOptions>(augImages).fill(augment), ...ssl],
    });
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
    const { batchSize, seed, clip, augImages } = this.#options;
    const chosen = Array.from({ length: batchSize }, (_, slot) =>
      this.#sampleAt(step * batchSize + slot),
    );
    const { pixels, views, fingerprints } = await this.#loadPictures(chosen, step);
    const captionStream = random(seed, "caption", step);
    const captions = chosen.map(
      (sample) => sample.captions[captionStream.integer(sample.captions.length)]!,
    );
    const text = this.#encode(captions);
    const moreCaptions = this.#moreCaptions(chosen, captions, step);
    const patchIndices = this.#patchIndices(batchSize * (1 + augImages), step, "patches");
    return {
      text,
      image: pixels,
      ...(patchIndices && { patchIndices }),
      ...(moreCaptions.length > 0 && { augText: moreCaptions.map((view) => this.#encode(view)) }),
      ...(augImages > 0 && { augImage: views.slice(0, augImages) }),
      ...(clip.options.useMlm && { mlm: this.#masked(text, step) }),
      ...(clip.sslPasses > 0 && { ssl: this.#ssl(views.slice(augImages), step) }),
      excluded: samePairs(chosen, [captions, ...moreCaptions], fingerprints),
    };
  }

  #encode(captions: readonly string[]): Int32Array {
    const { tokenizer, config } = this.#options;
    return tokenizer.encodeBatch(captions, config.clip.textSeqLen, textEncoding(config));
  }

  /** More views of the texts: of each, captions not taken yet, then such again without one word. */
  #moreCaptions(samples: readonly Sample[], captions: readonly string[], step: number): string[][] {
    const { seed, augTexts } = this.#options;
    const stream = random(seed, "more captions", step);
    const views = Array.from({ length: augTexts }, (): string[] => []);
    for (const [slot, sample] of samples.entries()) {
      const others = [...new Set(sample.captions)].filter((caption) => caption !== captions[slot]);
      const order = stream.permutation(others.length);
      for (const [i, view] of views.entries()) {
        const other = others[order[i]!];
        view.push(other ?? withoutOneWord(captions[slot]!, stream));
      }
    }
    return views;
  }

  /** Texts with words to be guessed, for masked language modelling. */
  #masked(text: Int32Array, step: number): NonNullable<Batch["mlm"]> {
    const { seed, clip } = this.#options;
    const { compat, textSeqLen } = clip.options;
    const draws = drawMask(text.length, clip.options, random(seed, "masked words", step));
    return maskTokens(text, textSeqLen, clip.options, draws, compat);
  }

  /** The views that visual self-supervision compares, and the patches kept in each of its passes. */
  #ssl(views: readonly Float32Array[], step: number): NonNullable<Batch["ssl"]> {
    const { batchSize, clip } = this.#options;
    const patchIndices = Array.from({ length: clip.sslPasses }, (_, pass) =>
      this.#patchIndices(batchSize, step, `ssl patches ${pass}`),
    );
    const dropped = patchIndices.filter((indices) => indices !== undefined);
    return { views, ...(dropped.length > 0 && { patchIndices: dropped }) };
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
          for (const [v, view] of loaded.views.entries()) view.set(other.views[v]!, slot * length);
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

function captionKey({ captions }: Sample): string {
  return captions.join("\n");
}

/** A text without one of its words, if it has several. */
function withoutOneWord(text: string, stream: Random): string {
  const words = text.split(/\s+/).filter((word) => word !== "");
  if (words.length < 2) return text;
  return words.toSpliced(stream.integer(words.length), 1).join(" ");
}

/**
 * Marks pairs (text, image) of different samples that nevertheless belong together: a view's caption is
 * also one of the other picture's, or the pictures are equal.
 */
function samePairs(
  samples: readonly Sample[],
  views: readonly (readonly string[])[],
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
        views.some((captions) => captionSets.get(samples[image]!.captions)!.has(captions[text]!));
      if (same) marks[text * count + image] = 1;
    }
  }
  return marks;
}
