/**
 * Learns byte-pair merges from a table of word frequencies (Sennrich et al., "Neural machine
 * translation of rare words with subword units", ACL 2016).
 */

/** Two tokens that are joined where they meet; the joint token is spelled as both in a row. */
export type Merge = readonly [left: string, right: string];

/** A pair of adjacent tokens, as `left * size + right`, with its count when put on the heap. */
interface Candidate {
  readonly pair: number;
  readonly count: number;
}

/** A pair seen once only would teach the model a single caption by heart. */
const MINIMUM_COUNT = 2;

/** No place, no symbol. */
const NONE = -1;

/** More frequent pairs first; ties go to the older tokens, so the order of the words is irrelevant. */
function comesBefore(a: Candidate, b: Candidate): boolean {
  return a.count !== b.count ? a.count > b.count : a.pair < b.pair;
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

  // All words in one row of places; a merge keeps the left place and links around the right one. So
  // a merge costs as much as it has occurrences, and all together no more than the words are long.
  let length = 0;
  for (const word of frequencies.keys()) length += word.length;
  const symbols = new Int32Array(length);
  const weights = new Float64Array(length);
  const previous = new Int32Array(length).fill(NONE);
  const next = new Int32Array(length).fill(NONE);

  const counts = new Map<number, number>();
  // The left places of a pair. Some have lost it again, and are passed over when met.
  const places = new Map<number, number[]>();
  let risen = new Set<number>();
  const pairAt = (left: number) => symbols[left]! * size + symbols[next[left]!]!;
  const add = (left: number) => {
    const pair = pairAt(left);
    counts.set(pair, (counts.get(pair) ?? 0) + weights[left]!);
    const list = places.get(pair);
    if (list === undefined) places.set(pair, [left]);
    else list.push(left);
    risen.add(pair);
  };
  const remove = (left: number) => {
    const pair = pairAt(left);
    counts.set(pair, counts.get(pair)! - weights[left]!);
  };
  const heap = new CandidateHeap();
  const offerRisen = () => {
    for (const pair of risen) heap.push({ pair, count: counts.get(pair)! });
    risen = new Set();
  };

  let end = 0;
  for (const [word, frequency] of frequencies) {
    const start = end;
    for (const character of word) {
      symbols[end] = ids.get(character)!;
      weights[end] = frequency;
      if (end > start) {
        previous[end] = end - 1;
        next[end - 1] = end;
        add(end - 1);
      }
      end++;
    }
  }
  offerRisen();

  while (tokens.length < size) {
    const best = heap.pop();
    if (best === undefined) break;
    const { pair, count } = best;
    const current = counts.get(pair)!;
    if (count !== current) {
      // Counts fall silently; one that rose was put on the heap again at that time.
      if (current < count) heap.push({ pair, count: current });
      continue;
    }
    if (current < MINIMUM_COUNT) break;
    const left = tokens[Math.floor(pair / size)]!;
    const right = tokens[pair % size]!;
    if (ids.has(left + right)) continue;
    const id = tokens.length;
    tokens.push(left + right);
    ids.set(left + right, id);
    merges.push([left, right]);

    // In order, for where occurrences overlap: "aaa" is "aa" and "a".
    for (const place of Int32Array.from(places.get(pair)!).sort()) {
      const gone = next[place]!;
      if (gone === NONE || pairAt(place) !== pair) continue;
      const before = previous[place]!;
      const after = next[gone]!;
      if (before !== NONE) remove(before);
      remove(place);
      if (after !== NONE) remove(gone);
      symbols[place] = id;
      symbols[gone] = NONE;
      next[gone] = NONE;
      next[place] = after;
      if (after !== NONE) {
        previous[after] = place;
        add(place);
      }
      if (before !== NONE) add(before);
    }
    places.delete(pair);
    offerRisen();
  }
  return merges;
}
