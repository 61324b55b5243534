import { ClipsmithError } from "../util/errors.js";
import type { Merge } from "./bpe-trainer.js";

/** A token to begin with; its place in the alphabet is its id. */
export interface Letter {
  /** As merges spell it. */
  readonly token: string;
  /** What it stands for in a text. */
  readonly bytes: readonly number[];
}

/** How many encoded words are remembered, for speed. */
const MOST_REMEMBERED_WORDS = 50_000;

/**
 * The character that stands for each byte in a byte-level vocabulary, as GPT-2 and everybody after it
 * writes them: printable Latin-1 characters stand for themselves, the other bytes for the characters
 * from U+0100 on.
 */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : 0x100 + others++);
  });
})();

/**
 * Byte-pair encoding of words (Sennrich et al., "Neural machine translation of rare words with subword
 * units", ACL 2016): as long as a word has neighbours that can be merged, the merge learned first is
 * made.
 */
export class BytePairs {
  /** The bytes that each token stands for: the alphabet's, then one token a merge. */
  readonly bytes: readonly (readonly number[])[];
  readonly #spell: (word: string) => number[];
  /** Left id * number of tokens + right id -> id of the joint token. */
  readonly #joints = new Map<number, number>();
  readonly #words = new Map<string, readonly number[]>();

  /**
   * @param spell a word in ids of the alphabet
   * @throws ClipsmithError for a merge of what is no token yet
   */
  constructor(
    alphabet: readonly Letter[],
    merges: readonly Merge[],
    spell: (word: string) => number[],
  ) {
    this.#spell = spell;
    const size = alphabet.length + merges.length;
    const ids = new Map(alphabet.map(({ token }, id) => [token, id]));
    const bytes = alphabet.map((letter) => letter.bytes);
    for (const [left, right] of merges) {
      const leftId = ids.get(left);
      const rightId = ids.get(right);
      if (leftId === undefined || rightId === undefined) {
        throw new ClipsmithError(`The merge "${left} ${right}" has a part that is no token yet.`);
      }
      const id = bytes.length;
      ids.set(left + right, id);
      this.#joints.set(leftId * size + rightId, id);
      bytes.push([...bytes[leftId]!, ...bytes[rightId]!]);
    }
    this.bytes = bytes;
  }

  /** The token ids of a word. */
  encode(word: string): readonly number[] {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    let ids = this.#spell(word);
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
    return this.#joints.get(left * this.bytes.length + right) ?? Number.POSITIVE_INFINITY;
  }
}
