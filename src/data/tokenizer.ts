import { writeFile } from "node:fs/promises";
import { ClipsmithError, messageOf } from "../util/errors.js";

/** Which special tokens a text gets; none by default, as in x-clip. */
export interface EncodeOptions {
  /** Begin with `bosId`; false by default. */
  readonly addBos?: boolean;
  /** End with `eosId`; false by default. */
  readonly addEos?: boolean;
}

export interface EncodeBatchOptions extends EncodeOptions {
  /** Cut texts that are too long; true by default. If false they are an error. */
  readonly truncate?: boolean;
}

/** Turns texts into token ids and back. */
export interface Tokenizer {
  /** Number of tokens, the special ones included: ids are 0 to this minus 1. */
  readonly vocabularySize: number;
  /** Fills up short texts, and is what a model's text mask passes over. */
  readonly padId: number;
  /** Begins a text where `addBos` asks for it; undefined if there is no such token. */
  readonly bosId: number | undefined;
  /** Ends a text where `addEos` asks for it. */
  readonly eosId: number;

  /**
   * The token ids of a text, without padding.
   *
   * @throws ClipsmithError for `addBos` where there is no `bosId`
   */
  encode(text: string, options?: EncodeOptions): number[];

  /**
   * Token ids of N texts as [N, length], row-major: short texts are filled up with `padId`, long ones
   * cut. With `addEos` every row has its `eosId`, last in a row that was cut.
   *
   * @throws ClipsmithError for a length below 1, and with `truncate: false` for a text that is longer
   */
  encodeBatch(texts: readonly string[], length: number, options?: EncodeBatchOptions): Int32Array;

  /**
   * The text of token ids; padding and special tokens are passed over. Bytes that are no UTF-8, as
   * where a text was cut inside a character, become U+FFFD.
   *
   * @throws ClipsmithError for an id that is not in the vocabulary
   */
  decode(ids: Iterable<number>): string;

  /**
   * Writes a `tokenizer.json` as Hugging Face's libraries read it; `loadTokenizer` gives it back.
   *
   * @throws ClipsmithError naming the file when it can't be written
   */
  save(path: string): Promise<void>;
}

/** How much of a text an error shows. */
const SHOWN_CHARACTERS = 60;

/** {@link Tokenizer.encodeBatch} of any tokenizer. */
export function encodeRows(
  tokenizer: Tokenizer,
  texts: readonly string[],
  length: number,
  { truncate = true, ...options }: EncodeBatchOptions = {},
): Int32Array {
  if (!Number.isInteger(length) || length < 1) {
    throw new ClipsmithError(`The length of encoded texts must be 1 or more; got ${length}.`);
  }
  const rows = new Int32Array(texts.length * length).fill(tokenizer.padId);
  for (const [row, text] of texts.entries()) {
    const ids = tokenizer.encode(text, options);
    if (ids.length > length) {
      if (!truncate) throw tooLong(text, row, ids.length, length);
      ids.length = length;
      if (options.addEos) ids[length - 1] = tokenizer.eosId;
    }
    rows.set(ids, row * length);
  }
  return rows;
}

function tooLong(text: string, row: number, tokens: number, length: number): ClipsmithError {
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  return new ClipsmithError(
    `Text ${row + 1}, "${shown}", has ${tokens} tokens; at most ${length} fit. ` +
      "Shorten it, or let it be cut by truncate: true.",
  );
}

/** Throws ClipsmithError naming the file when it can't be written. */
export async function saveTokenizerFile(path: string, file: object): Promise<void> {
  try {
    await writeFile(path, `${JSON.stringify(file, null, 2)}\n`);
  } catch (error) {
    throw new ClipsmithError(`Can't save the tokenizer as ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The error of an id that no token has. */
export function unknownToken(id: number, vocabularySize: number): ClipsmithError {
  return new ClipsmithError(
    `There is no token ${id}: this tokenizer's ids are 0 to ${vocabularySize - 1}. ` +
      "Were the ids made by another tokenizer?",
  );
}
