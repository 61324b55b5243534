import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../util/random.js";
import { learnMerges, type Merge } from "./bpe-trainer.js";

/** The same by counting everything again before each merge. */
function learnSlowly(
  frequencies: ReadonlyMap<string, number>,
  alphabet: readonly string[],
  size: number,
): Merge[] {
  const tokens = [...alphabet];
  const merges: Merge[] = [];
  let words = [...frequencies].map(([word, count]) => ({ symbols: [...word], count }));
  while (tokens.length < size) {
    const counts = new Map<string, number>();
    for (const { symbols, count } of words) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair = `${symbols[i]} ${symbols[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + count);
      }
    }
    const best = [...counts]
      .map(([pair, count]) => ({ pair: pair.split(" ") as [string, string], count }))
      .filter(({ pair, count }) => count >= 2 && !tokens.includes(pair.join("")))
      .sort(
        (a, b) =>
          b.count - a.count ||
          tokens.indexOf(a.pair[0]) - tokens.indexOf(b.pair[0]) ||
          tokens.indexOf(a.pair[1]) - tokens.indexOf(b.pair[1]),
      )[0];
    if (best === undefined) break;
    merges.push(best.pair);
    tokens.push(best.pair.join(""));
    words = words.map(({ symbols, count }) => {
      const joined: string[] = [];
      for (let i = 0; i < symbols.length; i++) {
        const isPair = symbols[i] === best.pair[0] && symbols[i + 1] === best.pair[1];
        joined.push(isPair ? best.pair.join("") : symbols[i]!);
        if (isPair) i++;
      }
      return { symbols: joined, count };
    });
  }
  return merges;
}

test("incremental counts and the heap choose the merges that full recounts choose", () => {
  for (let trial = 0; trial < 40; trial++) {
    const stream = random("merges", trial);
    const letters = ["a", "b", "c", "d"].slice(0, 2 + stream.integer(3));
    const words = new Map<string, number>();
    for (let i = 0; i < 30; i++) {
      const length = 1 + stream.integer(12);
      const word = Array.from({ length }, () => letters[stream.integer(letters.length)]).join("");
      words.set(word, 1 + stream.integer(5));
    }
    const size = letters.length + 25;
    assert.deepEqual(learnMerges(words, letters, size), learnSlowly(words, letters, size));
  }
});

test("the order of the words does not matter", () => {
  const words: [string, number][] = [
    ["abab", 2],
    ["cdcd", 2],
    ["abcd", 3],
    ["dcba", 5],
  ];
  const alphabet = ["a", "b", "c", "d"];
  assert.deepEqual(
    learnMerges(new Map(words), alphabet, 12),
    learnMerges(new Map([...words].reverse()), alphabet, 12),
  );
});

test("learning stops at the size, and when no pair occurs twice", () => {
  assert.deepEqual(learnMerges(new Map([["abcabc", 9]]), ["a", "b", "c"], 4), [["a", "b"]]);
  assert.deepEqual(learnMerges(new Map([["abc", 1]]), ["a", "b", "c"], 9), []);
  assert.deepEqual(learnMerges(new Map(), ["a"], 9), []);
});
