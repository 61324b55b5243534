/**
 * OpenAI's way of reading text, its vocabulary, and the `tokenizer.json` of Hugging Face for both. What
 * {@link splitWords} does and what the file says of it stand side by side here.
 */
import { isDeepStrictEqual } from "node:util";
import { decodeHTML } from "entities/decode";
import { ClipsmithError } from "../util/errors.js";
import { parseBpeFile } from "./bpe-file.js";
import type { Merge } from "./bpe-trainer.js";
import { BYTE_CHARACTERS, type Letter } from "./byte-pairs.js";
import { repairText } from "./repair-text.js";

export const BOS = "<|startoftext|>";
export const EOS = "<|endoftext|>";

const END_OF_WORD = "</w>";
const SPACE = 0x20;

/** Bytes in the order of their characters: so the printable ones come first, and "!" is token 0. */
const BYTES = Array.from(BYTE_CHARACTERS.keys()).sort((a, b) =>
  BYTE_CHARACTERS[a]! < BYTE_CHARACTERS[b]! ? -1 : 1,
);

/** The tokens to begin with: each byte, then each byte at the end of a word. */
export const ALPHABET: readonly Letter[] = [
  ...BYTES.map((byte) => ({ token: BYTE_CHARACTERS[byte]!, bytes: [byte] })),
  ...BYTES.map((byte) => ({
    token: BYTE_CHARACTERS[byte]! + END_OF_WORD,
    bytes: [byte, SPACE],
  })),
];

const utf8 = new TextEncoder();
const letterIds = new Map(BYTES.map((byte, id) => [byte, id]));

/** A word as ids of {@link ALPHABET}. */
export function spell(word: string): number[] {
  const ids = Array.from(utf8.encode(word), (byte) => letterIds.get(byte)!);
  ids[ids.length - 1]! += BYTES.length;
  return ids;
}

/** Units that merges don't cross: each digit is one of them. */
const WORD = "'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^\\s\\p{L}\\p{N}]+";

/** Tokens that stand for themselves wherever a text has them. */
const SPECIAL = "<\\|startoftext\\|>|<\\|endoftext\\|>";

const wordPattern = new RegExp(`${SPECIAL}|${WORD}`, "gu");

/** The text that OpenAI's tokenizer reads: mended, HTML decoded twice over, in lower case, in one line. */
export function cleanText(text: string): string {
  const mended = decodeHTML(decodeHTML(repairText(text)));
  return mended.replace(/\s+/g, " ").trim().toLowerCase();
}

/** A text's words, the special tokens among them. */
export function splitWords(text: string): readonly string[] {
  return cleanText(text).match(wordPattern) ?? [];
}

/** Every token by id. */
function vocabulary(merges: readonly Merge[]): Record<string, number> {
  const tokens = [...ALPHABET.map(({ token }) => token), ...merges.map((pair) => pair.join(""))];
  return Object.fromEntries([...tokens, BOS, EOS].map((token, id) => [token, id]));
}

/** The contents of a `tokenizer.json`. What {@link repairText} and HTML decoding do, it cannot say. */
export function toOpenAITokenizerFile(merges: readonly Merge[]): object {
  const vocab = vocabulary(merges);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [BOS, EOS].map((content) => ({
      id: vocab[content],
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: true,
      special: true,
    })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: WORD }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        // The character of the byte of a space.
        { type: "Replace", pattern: { String: END_OF_WORD }, content: BYTE_CHARACTERS[SPACE] },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        { type: "Strip", content: " ", start: 0, stop: 1 },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: EOS,
      continuing_subword_prefix: "",
      end_of_word_suffix: END_OF_WORD,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: merges.map((pair) => pair.join(" ")),
    },
  };
}

/** Whether a `tokenizer.json` may be that of a CLIP model, by how it ends words. */
export function endsWordsLikeOpenAI(file: unknown): boolean {
  const { model } = (file ?? {}) as { model?: { end_of_word_suffix?: unknown } };
  return model?.end_of_word_suffix === END_OF_WORD;
}

/**
 * The merges of a `tokenizer.json` of a CLIP model, of ours or of Hugging Face's.
 *
 * @throws ClipsmithError for anything else, also for tokens in another order
 */
export function fromOpenAITokenizerFile(file: unknown): readonly Merge[] {
  const { vocab, merges } = parseBpeFile(file).model;
  if (!isDeepStrictEqual(vocab, vocabulary(merges))) {
    throw new ClipsmithError(
      'Its "vocab" is not that of a CLIP model: the bytes, the bytes at the end of a word, a token for ' +
        `each of its ${merges.length} merges, ${BOS} and ${EOS}, in this order.`,
    );
  }
  return merges;
}
