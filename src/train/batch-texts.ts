import type { CLIP } from "../clip/index.js";
import {
  augmentText,
  type CaptionChanges,
  changeCaption,
  drawMask,
  maskTokens,
  type TextAugmentOptions,
  type Tokenizer,
  withoutOneWord,
} from "../data/index.js";
import { type ModelConfig, textEncoding } from "../model/index.js";
import { random } from "../util/random.js";
import type { Batch, Range } from "./batch.js";
import type { SampleFacts } from "./batch-samples.js";

/** What decides the texts of a batch. */
export interface TextOptions {
  readonly clip: CLIP;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** How every text is changed before it is encoded. */
  readonly captionChanges: CaptionChanges;
  /** What makes a view of a text that has no other captions; undefined: it loses a word. */
  readonly textAugment: TextAugmentOptions | undefined;
  /** How many more views of each text there are. */
  readonly augTexts: number;
}

/** The texts of a batch. */
export interface TextsOfBatch extends Pick<Batch, "text" | "augText" | "mlm"> {
  /** What each view's texts were before they were changed. */
  readonly captions: readonly (readonly string[])[];
}

/** Draws a batch's texts: a function of the seed, the step and the samples. */
export class BatchTexts {
  readonly #options: TextOptions;
  readonly #own: Range;

  /** @param own the samples of a batch whose texts are encoded; those of others are padding */
  constructor(options: TextOptions, own: Range) {
    this.#options = options;
    this.#own = own;
  }

  of(samples: readonly SampleFacts[], step: number): TextsOfBatch {
    const { seed, clip } = this.#options;
    const stream = random(seed, "caption", step);
    const captions = samples.map(
      (sample) => sample.captions[stream.integer(sample.captions.length)]!,
    );
    const views = [captions, ...this.#moreCaptions(samples, captions, step)];
    const [text, ...augText] = views.map((view, i) => this.#encode(view, step, i)) as [
      Int32Array,
      ...Int32Array[],
    ];
    return {
      captions: views,
      text,
      ...(augText.length > 0 && { augText }),
      ...(clip.options.useMlm && { mlm: this.#masked(text, step) }),
    };
  }

  /** The tokens of a view's texts, which are changed first. */
  #encode(captions: readonly string[], step: number, view: number): Int32Array {
    const { tokenizer, config, captionChanges, seed } = this.#options;
    const stream = random(seed, "caption changes", step, view);
    const texts = captions.map((caption) => changeCaption(caption, captionChanges, stream));
    const length = config.clip.textSeqLen;
    const all = new Int32Array(captions.length * length).fill(tokenizer.padId);
    const [start, end] = this.#own;
    const own = tokenizer.encodeBatch(texts.slice(start, end), length, textEncoding(config));
    all.set(own, start * length);
    return all;
  }

  /** More views of the texts: of each, captions not taken yet, then the first one changed. */
  #moreCaptions(
    samples: readonly SampleFacts[],
    captions: readonly string[],
    step: number,
  ): string[][] {
    const { seed, augTexts, textAugment } = this.#options;
    const stream = random(seed, "more captions", step);
    const changed = (caption: string) =>
      textAugment ? augmentText(caption, textAugment, stream) : withoutOneWord(caption, stream);
    const views = Array.from({ length: augTexts }, (): string[] => []);
    for (const [slot, sample] of samples.entries()) {
      const others = [...new Set(sample.captions)].filter((caption) => caption !== captions[slot]);
      const order = stream.permutation(others.length);
      for (const [i, view] of views.entries()) {
        view.push(others[order[i]!] ?? changed(captions[slot]!));
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
}
