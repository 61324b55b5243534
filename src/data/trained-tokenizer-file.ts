/**
 * The `tokenizer.json` of Hugging Face for our way of reading text. What {@link splitWords} does and
 * what the file says of it stand side by side here, because they must agree to the last character.
 */
import { isDeepStrictEqual } from "node:util";
import { ClipsmithError } from "../util/errors.js";
import { parseBpeFile } from "./bpe-file.js";
import type { Merge } from "./bpe-trainer.js";
import { BYTE_CHARACTERS } from "./byte-pairs.js";

/** Tokens that no text encodes to; their ids are their places here. */
export const SPECIAL_TOKENS = ["[PAD]", "[EOS]"] as const;

/**
 * Units that merges don't cross, most of them with the space before them: the end of an English
 * contraction; a letter with the letters, marks and joiners after it; digits; other signs, so that an
 * emoji stays whole. At most 64 characters, so that scripts without spaces, and junk, cost linear time.
 */
const WORD =
  "['’](?:s|t|re|ve|m|ll|d)(?!\\p{L})" +
  "| ?\\p{L}[\\p{L}\\p{M}\u200c\u200d]{0,63}" +
  "| ?\\p{N}{1,64}" +
  "| ?[^\\s\\p{L}\\p{N}]{1,64}" +
  "|\\s+";

const wordPattern = new RegExp(WORD, "gu");

/**
 * A text's words after normalisation, each with the space before it. The first word has one too, so
 * that it is the same token there as anywhere else.
 */
export function splitWords(text: string, lowerCase: boolean): readonly string[] {
  let normal = text.normalize("NFKC");
  // Lower case can undo composition: J with caron has no character of its own, j with caron has.
  if (lowerCase) normal = normal.toLowerCase().normalize("NFC");
  // JavaScript's \s has the byte order mark and lacks U+0085; Unicode's white space is the other way
  // round. Both are spaces here, so that no reader of the file can differ.
  normal = ` ${normal}`.replace(/[\s\u0085\ufeff]+/g, " ").replace(/ $/, "");
  return normal.match(wordPattern) ?? [];
}

function normalizer(lowerCase: boolean): object {
  return {
    type: "Sequence",
    normalizers: [
      { type: "NFKC" },
      ...(lowerCase ? [{ type: "Lowercase" }, { type: "NFC" }] : []),
      { type: "Prepend", prepend: " " },
      { type: "Replace", pattern: { Regex: "[\\s\ufeff]+" }, content: " " },
      { type: "Replace", pattern: { Regex: " $" }, content: "" },
    ],
  };
}

const BYTE_LEVEL = {
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: false,
};

const PRE_TOKENIZER = {
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: WORD }, behavior: "Isolated", invert: false },
    BYTE_LEVEL,
  ],
};

/** All tokens by id: the special ones, the bytes, one a merge. */
export function tokensOf(merges: readonly Merge[]): readonly string[] {
  return [...SPECIAL_TOKENS, ...BYTE_CHARACTERS, ...merges.map((pair) => pair.join(""))];
}

function vocabulary(merges: readonly Merge[]): Record<string, number> {
  return Object.fromEntries(tokensOf(merges).map((token, id) => [token, id]));
}

/** What a tokenizer knows. */
export interface TokenizerSettings {
  /** Merges in the order of learning; the i-th makes token 258 + i. */
  readonly merges: readonly Merge[];
  readonly lowerCase: boolean;
}

/** The contents of a `tokenizer.json`. */
export function toTokenizerFile({ merges, lowerCase }: TokenizerSettings): object {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: normalizer(lowerCase),
    pre_tokenizer: PRE_TOKENIZER,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [BYTE_LEVEL, { type: "Strip", content: " ", start: 1, stop: 0 }],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: vocabulary(merges),
      merges: merges.map((pair) => pair.join(" ")),
    },
  };
}

/**
 * Reads what {@link toTokenizerFile} wrote.
 *
 * @throws ClipsmithError for anything else, also for tokenizers that read text in other ways
 */
export function fromTokenizerFile(file: unknown): TokenizerSettings {
  const parsed = parseBpeFile(file);
  const { vocab, merges } = parsed.model;
  const lowerCase = isDeepStrictEqual(parsed.normalizer, normalizer(true));
  const differing =
    (!lowerCase && !isDeepStrictEqual(parsed.normalizer, normalizer(false)) && "normalizer") ||
    (!isDeepStrictEqual(parsed.pre_tokenizer, PRE_TOKENIZER) && "pre_tokenizer") ||
    (!isDeepStrictEqual(vocab, vocabulary(merges)) && "vocab");
  if (differing) {
    throw new ClipsmithError(
      `Its "${differing}" is not as Clipsmith writes it. Only tokenizers that Clipsmith trained, and ` +
        "those of OpenAI's CLIP, can be used.",
    );
  }
  return { merges, lowerCase };
}
