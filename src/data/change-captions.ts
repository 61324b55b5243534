import type { Random } from "../util/random.js";

/** How a caption is changed each time it is read; what is left out stays off. */
export interface CaptionChanges {
  /** Probability of each word to be left out; one stays in any case. */
  readonly wordDropout?: number;
  /** Texts with `{}` where the caption goes, of which one is drawn. */
  readonly templates?: readonly string[];
}

/** Changes that make another wording out of a text (EDA, Wei and Zou, 2019); what is left out stays off. */
export interface TextAugmentOptions {
  /** Part of the words, rounded to the nearest number but at least one, that change places with others. */
  readonly swap?: number | undefined;
  /** Probability of each word to be left out; one stays in any case. */
  readonly delete?: number | undefined;
}

const CAPTION = "{}";

/** A caption with words left out, and in one of the templates, as drawn. */
export function changeCaption(
  caption: string,
  { wordDropout = 0, templates = [] }: CaptionChanges,
  stream: Random,
): string {
  const kept = wordDropout > 0 ? joined(dropWords(wordsOf(caption), wordDropout, stream)) : caption;
  if (templates.length === 0) return kept;
  return fillTemplate(templates[stream.integer(templates.length)]!, kept);
}

/**
 * Captions as templates show them, to train a tokenizer on and to tell how long texts are: each in one of
 * the templates, in turn, and then the longest in all of them.
 */
export function inTemplates(captions: readonly string[], templates: readonly string[]): string[] {
  if (templates.length === 0) return [...captions];
  const longest = captions.reduce((a, b) => (b.length > a.length ? b : a), "");
  return [
    ...captions.map((caption, i) => fillTemplate(templates[i % templates.length]!, caption)),
    ...templates.map((template) => fillTemplate(template, longest)),
  ];
}

/** A template with a caption in every place for one. */
function fillTemplate(template: string, caption: string): string {
  return template.replaceAll(CAPTION, () => caption);
}

/** Whether a template has a place for a caption. */
export function isTemplate(text: string): boolean {
  return text.includes(CAPTION);
}

/**
 * Another wording of a text: words change places, as often as `swap` says, and then are left out. A
 * text of one word stays as it is.
 */
export function augmentText(
  text: string,
  { swap, delete: deletion = 0 }: TextAugmentOptions,
  stream: Random,
): string {
  const words = wordsOf(text);
  if (words.length < 2) return text;
  const swaps = swap ? Math.max(1, Math.round(swap * words.length)) : 0;
  for (let i = 0; i < swaps; i++) {
    const from = stream.integer(words.length);
    // Any place but its own.
    const to = (from + 1 + stream.integer(words.length - 1)) % words.length;
    [words[from], words[to]] = [words[to]!, words[from]!];
  }
  return joined(dropWords(words, deletion, stream));
}

/** A text without one of its words, if it has several. */
export function withoutOneWord(text: string, stream: Random): string {
  const words = wordsOf(text);
  if (words.length < 2) return text;
  return joined(words.toSpliced(stream.integer(words.length), 1));
}

/** The words that stay, each by its own draw; if none does, one of them. */
function dropWords(
  words: readonly string[],
  probability: number,
  stream: Random,
): readonly string[] {
  const kept = words.filter(() => stream.uniform() >= probability);
  return kept.length > 0 ? kept : [words[stream.integer(words.length)]!];
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

function joined(words: readonly string[]): string {
  return words.join(" ");
}
