/**
 * Learns byte-pair merges from a table of word frequencies (Sennrich et al., "Neural machine
 * translation of rare words with subword units", ACL 2016).
 */

/** Two tokens that are joined where they meet; the joint token is spelled as both in a row. */
export type Merge = readonly [left: string, right: string];

/** A pair of adjacent tokens as it was counted when this was put on the heap. */
interface Candidate {
  readonly left: number;
  readonly right: number;
  readonly count: number;
}

/** A pair seen once only would teach the model a single caption by heart. */
const MINIMUM_COUNT = 2;

/** More frequent pairs first; ties go to the older tokens, so the order of the words is irrelevant. */
function comesBefore(a: Candidate, b: Candidate): boolean {
  if (a.count !== b.count) return a.count > b.count;
  return a.left !== b.left ? a.left < b.left : a.right < b.right;
}

/** A binary heap whose top comes before all others. */
class CandidateHeap {
  readonly #items: Candidate[] = [];

  push(item: Candidate): void {
    const items = this.#items;
    let place = items.length;
    items.push(item);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!comesBefore(item, items[parent]!)) break;
      items[place] = items[parent]!;
      place = parent;
    }
    items[place] = item;
  }

  pop(): Candidate | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && comesBefore(items[child + 1]!, items[child]!)) child++;
      if (!comesBefore(items[child]!, last)) break;
      items[place] = items[child]!;
      place = child;
    }
    items[place] = last;
    return top;
  }
}

/** `word` with every `left` followed by `right` replaced by `merged`, from left to right. */
function merge(word: readonly number[], left: number, right: number, merged: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === left && word[i + 1] === right) {
      result.push(merged);
      i++;
    } else {
      result.push(word[i]!);
    }
  }
  return result;
}

/**
 * Merges the most frequent pair of neighbouring tokens again and again, until there are `size` tokens
 * or no pair occurs twice. Deterministic, whatever the order of the table. Each merge makes a new
 * token: a second way to spell a token made before is not taken, so that merges and tokens have one
 * order.
 *
 * @param frequencies words, spelled in the characters of `alphabet`, and how often each occurs
 * @param alphabet the tokens of one character to begin with
 * @returns the merges in the order of learning, at most `size - alphabet.length`
 */
export function learnMerges(
  frequencies: ReadonlyMap<string, number>,
  alphabet: readonly string[],
  size: number,
): Merge[] {
  const tokens = [...alphabet];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: Merge[] = [];

  const words: number[][] = [];
  const weights: number[] = [];
  const counts = new Map<number, number>();
  // The words that hold a pair, or held it once: those that lost it are passed over when met.
  const holders = new Map<number, Set<number>>();
  const key = (left: number, right: number) => left * size + right;

  const count = (word: number, sign: 1 | -1, touched?: Map<number, [number, number]>) => {
    const symbols = words[word]!;
    const change = sign * weights[word]!;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const left = symbols[i]!;
      const right = symbols[i + 1]!;
      const pair = key(left, right);
      counts.set(pair, (counts.get(pair) ?? 0) + change);
      if (sign < 0) continue;
      let set = holders.get(pair);
      if (set === undefined) {
        set = new Set();
        holders.set(pair, set);
      }
      set.add(word);
      touched?.set(pair, [left, right]);
    }
  };

  const heap = new CandidateHeap();
  const offer = (touched: ReadonlyMap<number, [number, number]>) => {
    for (const [pair, [left, right]] of touched) {
      heap.push({ left, right, count: counts.get(pair)! });
    }
  };

  const found = new Map<number, [number, number]>();
  for (const [word, frequency] of frequencies) {
    if (word.length < 2) continue;
    words.push(Array.from(word, (character) => ids.get(character)!));
    weights.push(frequency);
    count(words.length - 1, 1, found);
  }
  offer(found);

  while (tokens.length < size) {
    const best = heap.pop();
    if (best === undefined) break;
    const { left, right } = best;
    const pair = key(left, right);
    const current = counts.get(pair) ?? 0;
    if (best.count !== current) {
      // Counts fall silently; a count that rose was put on the heap again at that time.
      if (current < best.count && current > 0) heap.push({ left, right, count: current });
      continue;
    }
    if (current < MINIMUM_COUNT) break;
    const token = tokens[left]! + tokens[right]!;
    if (ids.has(token)) continue;
    const id = tokens.length;
    tokens.push(token);
    ids.set(token, id);
    merges.push([tokens[left]!, tokens[right]!]);

    const touched = new Map<number, [number, number]>();
    for (const word of holders.get(pair)!) {
      const after = merge(words[word]!, left, right, id);
      if (after.length === words[word]!.length) continue;
      count(word, -1);
      words[word] = after;
      count(word, 1, touched);
    }
    holders.delete(pair);
    offer(touched);
  }
  return merges;
}
