import { readFile, writeFile } from "node:fs/promises";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { learnMerges } from "./bpe-trainer.js";
import {
  BYTE_CHARACTERS,
  fromTokenizerFile,
  SPECIAL_TOKENS,
  splitWords,
  type TokenizerSettings,
  toTokenizerFile,
} from "./tokenizer-file.js";

/** Fills up short texts; 0 is x-clip's `textPadId`. No text encodes to it. */
export const PAD_ID = 0;
/** Ends a text where `addEos` asks for it. No text encodes to it. */
export const EOS_ID = 1;

const FIRST_BYTE_ID = SPECIAL_TOKENS.length;
const FIRST_MERGE_ID = FIRST_BYTE_ID + BYTE_CHARACTERS.length;

/** How many encoded words a tokenizer remembers, for speed. */
const MOST_REMEMBERED_WORDS = 50_000;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });

export interface EncodeOptions {
  /** End with {@link EOS_ID}; false by default. */
  readonly addEos?: boolean;
}

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
export class Tokenizer {
  /** Number of tokens, the special ones and the bytes included: ids are 0 to this minus 1. */
  readonly vocabularySize: number;
  readonly #settings: TokenizerSettings;
  /** The bytes that each token stands for. */
  readonly #bytes: (readonly number[])[];
  /** Left id * vocabularySize + right id -> id of the joint token. */
  readonly #joints = new Map<number, number>();
  readonly #words = new Map<string, readonly number[]>();

  /** See {@link trainTokenizer} and {@link Tokenizer.load}. */
  constructor(settings: TokenizerSettings) {
    this.#settings = settings;
    this.vocabularySize = FIRST_MERGE_ID + settings.merges.length;
    const ids = new Map(BYTE_CHARACTERS.map((token, byte) => [token, FIRST_BYTE_ID + byte]));
    this.#bytes = [...SPECIAL_TOKENS.map(() => []), ...BYTE_CHARACTERS.map((_, byte) => [byte])];
    for (const [left, right] of settings.merges) {
      const leftId = ids.get(left);
      const rightId = ids.get(right);
      if (leftId === undefined || rightId === undefined) {
        throw new ClipsmithError(`The merge "${left} ${right}" has a part that is no token yet.`);
      }
      const id = this.#bytes.length;
      ids.set(left + right, id);
      this.#joints.set(leftId * this.vocabularySize + rightId, id);
      this.#bytes.push([...this.#bytes[leftId]!, ...this.#bytes[rightId]!]);
    }
  }

  /** The token ids of a text, without padding; none for a blank text. */
  encode(text: string, { addEos = false }: EncodeOptions = {}): number[] {
    const ids: number[] = [];
    for (const word of splitWords(text, this.#settings.lowerCase)) {
      for (const id of this.#encodeWord(word)) ids.push(id);
    }
    if (addEos) ids.push(EOS_ID);
    return ids;
  }

  #encodeWord(word: string): readonly number[] {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    let ids = Array.from(utf8.encode(word), (byte) => FIRST_BYTE_ID + byte);
    for (;;) {
      // Ids grow in the order of learning, and a joint is younger than its parts: so the oldest joint
      // can be made everywhere at once.
      let oldest = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < ids.length; i++) {
        oldest = Math.min(oldest, this.#joint(ids[i]!, ids[i + 1]!));
      }
      if (oldest === Number.POSITIVE_INFINITY) break;
      const joined: number[] = [];
      for (let i = 0; i < ids.length; i++) {
        const isJoint = i + 1 < ids.length && this.#joint(ids[i]!, ids[i + 1]!) === oldest;
        joined.push(isJoint ? oldest : ids[i]!);
        if (isJoint) i++;
      }
      ids = joined;
    }
    if (this.#words.size >= MOST_REMEMBERED_WORDS) this.#words.clear();
    this.#words.set(word, ids);
    return ids;
  }

  #joint(left: number, right: number): number {
    return this.#joints.get(left * this.vocabularySize + right) ?? Number.POSITIVE_INFINITY;
  }

  /**
   * The text of token ids; padding and end-of-text tokens are passed over. Bytes that are no UTF-8,
   * as where a text was cut inside a character, become U+FFFD.
   *
   * @throws ClipsmithError for an id that is not in the vocabulary
   */
  decode(ids: Iterable<number>): string {
    const bytes: number[] = [];
    for (const id of ids) {
      const token = this.#bytes[id];
      if (token === undefined) {
        throw new ClipsmithError(
          `There is no token ${id}: this tokenizer's ids are 0 to ${this.vocabularySize - 1}. ` +
            "Were the ids made by another tokenizer?",
        );
      }
      bytes.push(...token);
    }
    return fromUtf8.decode(Uint8Array.from(bytes)).replace(/^ /, "");
  }

  /**
   * Token ids of N texts as [N, length], row-major: short texts padded with {@link PAD_ID}, long ones
   * cut. With `addEos` every row has its {@link EOS_ID}, last in a row that was cut.
   *
   * @throws ClipsmithError for a length below 1
   */
  encodeBatch(
    texts: readonly string[],
    length: number,
    { addEos = false }: EncodeOptions = {},
  ): Int32Array {
    if (!Number.isInteger(length) || length < 1) {
      throw new ClipsmithError(`The length of encoded texts must be 1 or more; got ${length}.`);
    }
    const rows = new Int32Array(texts.length * length);
    for (const [row, text] of texts.entries()) {
      const ids = this.encode(text, { addEos });
      if (ids.length > length) {
        ids.length = length;
        if (addEos) ids[length - 1] = EOS_ID;
      }
      rows.set(ids, row * length);
    }
    return rows;
  }

  /** The contents of a `tokenizer.json`. */
  toJSON(): object {
    return toTokenizerFile(this.#settings);
  }

  /**
   * The tokenizer of a `tokenizer.json` that a {@link Tokenizer} wrote.
   *
   * @throws ClipsmithError for anything else
   */
  static fromJSON(file: object): Tokenizer {
    return new Tokenizer(fromTokenizerFile(file));
  }

  /** @throws ClipsmithError naming the file when it can't be read or is no tokenizer of ours */
  static async load(path: string): Promise<Tokenizer> {
    try {
      return Tokenizer.fromJSON(JSON.parse(await readFile(path, "utf8")));
    } catch (error) {
      throw new ClipsmithError(`Can't load the tokenizer ${path}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** @throws ClipsmithError naming the file when it can't be written */
  async save(path: string): Promise<void> {
    try {
      await writeFile(path, `${JSON.stringify(this, null, 2)}\n`);
    } catch (error) {
      throw new ClipsmithError(`Can't save the tokenizer as ${path}: ${messageOf(error)}`, {
        cause: error,
      });
    }
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
): Tokenizer {
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
  return new Tokenizer({ merges, lowerCase });
}
