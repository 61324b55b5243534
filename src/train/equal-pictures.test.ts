import assert from "node:assert/strict";
import { test } from "node:test";
import { EqualPictures, NothingToLearnError } from "./equal-pictures.js";
import { identitiesOf } from "./identities.js";

/** A picture by a letter, and its caption; equal letters are equal pictures. */
type Pair = readonly [picture: string, caption: string];

interface Watched {
  readonly news: string[];
  readonly end: string[];
  readonly error?: string;
}

/** What is told of a collection that is read in order, so many times over. */
function watch(
  collection: readonly Pair[],
  options: {
    readonly batch?: number;
    readonly steps?: number;
    readonly fromStart?: boolean;
    readonly excludes?: boolean;
    readonly firstEpoch?: number;
  } = {},
): Watched {
  const { batch = 4, fromStart = true, excludes = true, firstEpoch = 0 } = options;
  const { steps = collection.length / batch } = options;
  const equal = new EqualPictures(fromStart);
  const news: string[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      const places = Array.from({ length: batch }, (_, i) => step * batch + i);
      const samples = places.map((place) => {
        const [name, caption] = collection[place % collection.length]!;
        const epoch = firstEpoch + Math.floor(place / collection.length);
        return { name: `${name}.png`, captions: [caption], epoch };
      });
      const prints = Float64Array.from(samples, ({ name }) => name.charCodeAt(0));
      const views = [samples.map(({ captions }) => captions[0]!)];
      equal.see(samples, prints, excludes ? identitiesOf(samples, views, prints) : undefined);
      news.push(...equal.news());
    }
    return { news, end: equal.end() };
  } catch (error) {
    assert.ok(error instanceof NothingToLearnError, (error as Error).stack);
    return { news, end: [], error: error.message };
  }
}

/** Pairs of the pictures of a word's letters, each with a caption of its own. */
const pictures = (letters: string) =>
  [...letters].map((letter, i): Pair => [letter, `caption ${i}`]);

const IDLE =
  "A step had nothing to compare and learns nothing: in its batch, all pairs have the same picture or the " +
  "same caption.";
const LEAVE_OUT = "Placeholders of pictures that could not be downloaded look so: leave them out.";

test("a collection of one picture stops with an error, with and without negatives left out", () => {
  const same = pictures("a".repeat(12));
  for (const [why, options, count] of [
    ["at the run's end", {}, 12],
    ["when all of the collection was seen", { steps: 1000 }, 12],
    ["with duplicates as negatives", { excludes: false, steps: 1000 }, 12],
    ["when a collection is less than a batch", { batch: 12, steps: 2 }, 12],
  ] as const) {
    const { error } = watch(same, options);
    assert.match(
      error ?? "",
      new RegExp(`^All ${count} pictures read are the same picture, a\\.png: `),
      why,
    );
  }
  const many = watch(pictures("a".repeat(5000)), { batch: 10 });
  assert.match(many.error ?? "", /^All 1,000 pictures read are the same picture/);
});

test("a resumed run stops only when there is no hope left", () => {
  const same = pictures("a".repeat(12));
  const resumed = { fromStart: false, firstEpoch: 3 };
  assert.equal(watch(same, { ...resumed, steps: 200 }).error, undefined);
  assert.match(watch(same, { ...resumed, steps: 300 }).error ?? "", /^All 1,000 pictures/);
});

test("a step without anything to compare is told, and counted in the end", () => {
  const good = pictures("bcdefghijklmnopq");
  const idle = pictures("aaaa");
  assert.deepEqual(watch([...good, ...good]).news, []);
  const once = watch([...good, ...idle, ...good]);
  assert.deepEqual(once, { news: [IDLE], end: [] });
  // By captions, and by both: each shares a picture with one and a caption with the other.
  const captions: Pair[] = ["b", "c", "d", "e"].map((picture) => [picture, "the same"]);
  assert.deepEqual(watch([...good, ...captions]), { news: [IDLE], end: [] });
  const both: Pair[] = [
    ["b", "one"],
    ["b", "two"],
    ["c", "two"],
  ];
  assert.deepEqual(watch(both, { batch: 3 }).news, []);
  const twice = watch([...captions, ...good, ...good, ...captions, ...good, ...good]);
  assert.deepEqual(twice, { news: [IDLE], end: ["2 of 18 steps had nothing to compare."] });
  assert.deepEqual(watch([...good, ...idle], { excludes: false }).news, []);
});

test("steps that never have anything to compare end in an error", () => {
  const one: Pair[] = [..."abcdefghij"].map((picture) => [picture, "the same"]);
  const two: Pair[] = [..."abcdefghij"].map((picture) => [picture, "another"]);
  const inTurn = [...one, ...two];
  assert.match(watch(inTurn, { batch: 10, steps: 1000 }).error ?? "", /^None of 100 steps had/);
  // A short run may have had bad luck.
  assert.deepEqual(watch(inTurn, { batch: 10, steps: 2 }).end, [
    "2 of 2 steps had nothing to compare.",
  ]);
});

test("pictures that are a large part of a collection are told by number and name", () => {
  const distinct = (count: number, from = 1000) =>
    Array.from({ length: count }, (_, i): Pair => [String.fromCharCode(from + i), `picture ${i}`]);
  const cases: readonly (readonly [string, readonly Pair[], readonly string[]])[] = [
    ["half", pictures("abacadaeafag"), ["6 of the 12 read are the same picture, a.png"]],
    [
      "two placeholders",
      pictures("abababababab"),
      ["6 of the 12 read are the same picture, a.png; 6 are b.png"],
    ],
    [
      "four placeholders",
      pictures("abcdabcdabcd"),
      [
        "3 of the 12 read are the same picture, a.png; 3 are b.png; 3 are c.png; and so on for 1 more",
      ],
    ],
    [
      "a hundredth of many",
      [...distinct(1980), ...pictures("z".repeat(20))],
      ["20 of the 2,000 read are the same picture, z.png"],
    ],
    [
      "early ones",
      [...pictures("z".repeat(20)), ...distinct(1980)],
      [
        "20 of the 1,000 read are the same picture, z.png",
        "20 of the 2,000 read are the same picture, z.png",
      ],
    ],
    ["a few of many", [...distinct(981), ...pictures("z".repeat(19))], []],
    [
      "five captions of each picture",
      distinct(200).flatMap((pair) => Array<Pair>(5).fill(pair)),
      [],
    ],
    ["twins", pictures("aabbccdd"), []],
  ];
  for (const [what, collection, expected] of cases) {
    const batch = collection.length % 10 === 0 ? 10 : 4;
    for (const epochs of [1, 3]) {
      const { news, end, error } = watch(collection, {
        batch,
        steps: (epochs * collection.length) / batch,
      });
      assert.equal(error, undefined);
      const told = [...news, ...end].filter((line) => /^Many/.test(line));
      assert.deepEqual(
        told,
        expected.map((line) => `Many pictures are equal: ${line}. ${LEAVE_OUT}`),
        `${what}, ${epochs} epochs`,
      );
    }
  }
});
