import type { Merge } from "./bpe-trainer.js";
import { BytePairs } from "./byte-pairs.js";
import {
  ALPHABET,
  BOS,
  EOS,
  fromOpenAITokenizerFile,
  spell,
  splitWords,
  toOpenAITokenizerFile,
} from "./openai-tokenizer-file.js";
import {
  type EncodeBatchOptions,
  type EncodeOptions,
  encodeRows,
  saveTokenizerFile,
  type Tokenizer,
  unknownToken,
} from "./tokenizer.js";

/** As x-clip and OpenAI have it. It is the token of a "!" inside a word, too. */
const PAD_ID = 0;
/** What x-clip takes for the end token, 49407, when it decodes. It is "berwick". */
const XCLIP_EOS_ID = 40_407;

export interface OpenAIDecodeOptions {
  /** Leave out padding and the start and end tokens; true by default. */
  readonly skipSpecialTokens?: boolean;
  /**
   * `"x-clip"` decodes as x-clip 0.14.4 does: with a space after the last word; of special tokens,
   * leaving out every token 0, though it may be a "!", token 40407, which is the word "berwick", and the
   * start token, but not the end token.
   */
  readonly compat?: "x-clip";
}

const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const utf8 = new TextEncoder();

/**
 * The byte-pair tokenizer of OpenAI's CLIP (Radford et al., "Learning transferable visual models from
 * natural language supervision", 2021), and of x-clip: 49408 tokens with OpenAI's merges, ids and all.
 * A text is mended (see `repairText`), its HTML entities decoded twice, its white space collapsed, and
 * read in lower case. "<|startoftext|>" and "<|endoftext|>" inside a text are the special tokens.
 *
 * `padId` is 0, which is also the token of a "!" that does not end a word, as in "!(": x-clip's text mask
 * passes over those too. A text never ends with it, so decoding can tell: only the zeros at the end are
 * padding.
 */
export class OpenAITokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly padId = PAD_ID;
  readonly bosId: number;
  readonly eosId: number;
  readonly #merges: readonly Merge[];
  readonly #pairs: BytePairs;

  /**
   * See `loadTokenizer`.
   *
   * @param merges in the order of learning; the i-th makes token 512 + i
   */
  constructor(merges: readonly Merge[]) {
    this.#merges = merges;
    this.#pairs = new BytePairs(ALPHABET, merges, spell);
    this.bosId = this.#pairs.bytes.length;
    this.eosId = this.bosId + 1;
    this.vocabularySize = this.eosId + 1;
  }

  encode(text: string, { addBos = false, addEos = false }: EncodeOptions = {}): number[] {
    const ids: number[] = [];
    if (addBos) ids.push(this.bosId);
    for (const word of splitWords(text)) {
      if (word === BOS) ids.push(this.bosId);
      else if (word === EOS) ids.push(this.eosId);
      else for (const id of this.#pairs.encode(word)) ids.push(id);
    }
    if (addEos) ids.push(this.eosId);
    return ids;
  }

  encodeBatch(texts: readonly string[], length: number, options?: EncodeBatchOptions): Int32Array {
    return encodeRows(this, texts, length, options);
  }

  /**
   * The text of token ids: in lower case, with a space between any two words, before punctuation too.
   * Bytes that are no UTF-8 become U+FFFD.
   *
   * @throws ClipsmithError for an id that is not in the vocabulary
   */
  decode(
    ids: Iterable<number>,
    { skipSpecialTokens = true, compat }: OpenAIDecodeOptions = {},
  ): string {
    const bytes: number[] = [];
    for (const id of skipSpecialTokens ? this.#withoutSpecial([...ids], compat) : ids) {
      bytes.push(...this.#bytesOf(id));
    }
    const text = fromUtf8.decode(Uint8Array.from(bytes));
    return compat === "x-clip" ? text : text.replace(/ $/, "");
  }

  #withoutSpecial(ids: readonly number[], compat: "x-clip" | undefined): readonly number[] {
    if (compat === "x-clip") {
      return ids.filter((id) => id !== this.bosId && id !== XCLIP_EOS_ID && id !== PAD_ID);
    }
    const end = ids.findLastIndex((id) => id !== PAD_ID) + 1;
    return ids.slice(0, end).filter((id) => id !== this.bosId && id !== this.eosId);
  }

  #bytesOf(id: number): Iterable<number> {
    const bytes = this.#pairs.bytes[id];
    if (bytes !== undefined) return bytes;
    if (id === this.bosId) return utf8.encode(BOS);
    if (id === this.eosId) return utf8.encode(EOS);
    throw unknownToken(id, this.vocabularySize);
  }

  /** The contents of a `tokenizer.json`. */
  toJSON(): object {
    return toOpenAITokenizerFile(this.#merges);
  }

  /**
   * The tokenizer of a CLIP model's `tokenizer.json`, of ours or of Hugging Face's.
   *
   * @throws ClipsmithError for anything else
   */
  static fromJSON(file: object): OpenAITokenizer {
    return new OpenAITokenizer(fromOpenAITokenizerFile(file));
  }

  save(path: string): Promise<void> {
    return saveTokenizerFile(path, this.toJSON());
  }
}
