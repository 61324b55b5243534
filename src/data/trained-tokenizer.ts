import { ClipsmithError } from "../util/errors.js";
import { learnMerges } from "./bpe-trainer.js";
import { BYTE_CHARACTERS, BytePairs } from "./byte-pairs.js";
import {
  type EncodeBatchOptions,
  type EncodeOptions,
  encodeRows,
  saveTokenizerFile,
  type Tokenizer,
  unknownToken,
} from "./tokenizer.js";
import {
  fromTokenizerFile,
  SPECIAL_TOKENS,
  splitWords,
  type TokenizerSettings,
  toTokenizerFile,
} from "./trained-tokenizer-file.js";

/** {@link TrainedTokenizer}'s `padId`; 0 is x-clip's `textPadId`. No text encodes to it. */
export const PAD_ID = 0;
/** {@link TrainedTokenizer}'s `eosId`. No text encodes to it. */
export const EOS_ID = 1;

const FIRST_BYTE_ID = SPECIAL_TOKENS.length;
const FIRST_MERGE_ID = FIRST_BYTE_ID + BYTE_CHARACTERS.length;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });

export interface TrainTokenizerOptions {
  /** The most tokens the vocabulary may have, at least 258; 8192 by default. */
  readonly vocabularySize?: number;
  /** Read capital letters as small ones; true by default. */
  readonly lowerCase?: boolean;
}

/**
 * A byte-level BPE tokenizer: any text becomes tokens, and comes back up to normalisation. A text is
 * brought into Unicode's NFKC form and, unless trained otherwise, lower case; runs of white space
 * become one space and are dropped at the ends; a lone surrogate becomes U+FFFD.
 *
 * Kept as a Hugging Face `tokenizer.json`, which transformers.js and Hugging Face's tokenizers read.
 * As usual there, those read the words "[PAD]" and "[EOS]" inside a text as the special tokens; this
 * class reads them as plain text.
 */
export class TrainedTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly padId = PAD_ID;
  readonly bosId = undefined;
  readonly eosId = EOS_ID;
  readonly #settings: TokenizerSettings;
  readonly #pairs: BytePairs;

  /** See {@link trainTokenizer}. */
  constructor(settings: TokenizerSettings) {
    this.#settings = settings;
    this.vocabularySize = FIRST_MERGE_ID + settings.merges.length;
    const alphabet = [
      ...SPECIAL_TOKENS.map((token) => ({ token, bytes: [] })),
      ...BYTE_CHARACTERS.map((token, byte) => ({ token, bytes: [byte] })),
    ];
    this.#pairs = new BytePairs(alphabet, settings.merges, (word) =>
      Array.from(utf8.encode(word), (byte) => FIRST_BYTE_ID + byte),
    );
  }

  /** The token ids of a text; none for a blank one. It has no token that begins a text. */
  encode(text: string, { addBos = false, addEos = false }: EncodeOptions = {}): number[] {
    if (addBos) {
      throw new ClipsmithError(
        "A tokenizer that was trained on captions has no token that begins a text: leave out addBos.",
      );
    }
    const ids: number[] = [];
    for (const word of splitWords(text, this.#settings.lowerCase)) {
      for (const id of this.#pairs.encode(word)) ids.push(id);
    }
    if (addEos) ids.push(EOS_ID);
    return ids;
  }

  encodeBatch(texts: readonly string[], length: number, options?: EncodeBatchOptions): Int32Array {
    return encodeRows(this, texts, length, options);
  }

  decode(ids: Iterable<number>): string {
    const bytes: number[] = [];
    for (const id of ids) {
      const token = this.#pairs.bytes[id];
      if (token === undefined) throw unknownToken(id, this.vocabularySize);
      bytes.push(...token);
    }
    return fromUtf8.decode(Uint8Array.from(bytes)).replace(/^ /, "");
  }

  /** The contents of a `tokenizer.json`. */
  toJSON(): object {
    return toTokenizerFile(this.#settings);
  }

  /**
   * The tokenizer of a `tokenizer.json` that a {@link TrainedTokenizer} wrote.
   *
   * @throws ClipsmithError for anything else
   */
  static fromJSON(file: object): TrainedTokenizer {
    return new TrainedTokenizer(fromTokenizerFile(file));
  }

  save(path: string): Promise<void> {
    return saveTokenizerFile(path, this.toJSON());
  }
}

/**
 * Trains a tokenizer on captions: the commonest words get a token each, rarer ones are spelled in
 * pieces. Equal captions give equal tokenizers, whatever their order. When the captions run out of
 * pairs that occur at least twice, the vocabulary stays smaller than asked for: read
 * `vocabularySize` of the result. With no captions it spells out every text in bytes.
 *
 * @throws ClipsmithError for a `vocabularySize` that has no room for the 256 bytes
 */
export function trainTokenizer(
  captions: Iterable<string>,
  { vocabularySize = 8192, lowerCase = true }: TrainTokenizerOptions = {},
): TrainedTokenizer {
  if (!Number.isInteger(vocabularySize) || vocabularySize < FIRST_MERGE_ID) {
    throw new ClipsmithError(
      `vocabularySize must be a whole number of at least ${FIRST_MERGE_ID} (256 bytes and ` +
        `${SPECIAL_TOKENS.join(", ")}); got ${vocabularySize}.`,
    );
  }
  const frequencies = new Map<string, number>();
  for (const caption of captions) {
    for (const word of splitWords(caption, lowerCase)) {
      frequencies.set(word, (frequencies.get(word) ?? 0) + 1);
    }
  }
  const spelled = new Map<string, number>();
  for (const [word, frequency] of frequencies) {
    const bytes = Array.from(utf8.encode(word), (byte) => BYTE_CHARACTERS[byte]!).join("");
    // Words that differ in lone surrogates only are spelled alike.
    spelled.set(bytes, (spelled.get(bytes) ?? 0) + frequency);
  }
  const merges = learnMerges(spelled, BYTE_CHARACTERS, vocabularySize - SPECIAL_TOKENS.length);
  return new TrainedTokenizer({ merges, lowerCase });
}
