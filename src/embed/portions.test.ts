import assert from "node:assert/strict";
import { test } from "node:test";
import { CANNOT_BE_READ } from "../data/byte-file.js";
import type { Shard, SourceSample } from "../data/index.js";
import { type Entry, shardOf } from "../data/shard.js";
import { BEGINNING, type PlacedEntry, portionsOf, readPortions, samplesIn } from "./portions.js";

/** A shard of so many samples, which counts how often it is read. */
function shard(name: string, size: number, last: Entry[] = []): Shard & { reads: number } {
  const entries = [
    ...Array.from({ length: size }, (_, i): SourceSample => {
      return { name: `${name}/${i}`, picture: new Uint8Array(), captions: [] };
    }),
    ...last,
  ];
  const counted = { name, reads: 0 };
  return Object.assign(counted, {
    read(start?: number) {
      counted.reads++;
      const all = shardOf(name, async function* () {
        yield* entries;
      });
      return all.read(start);
    },
  });
}

function inMemory(name: string, size: number): Shard {
  const samples = Array.from({ length: size }, (_, i) => ({
    picture: `${name}/${i}`,
    captions: [],
  }));
  return { ...shard(name, size), inMemory: { samples, skipped: [], notes: [] } };
}

const nameOf = ({ entry }: PlacedEntry) => ("reason" in entry ? entry.where : entry.name);

async function all(entries: AsyncIterable<PlacedEntry>): Promise<PlacedEntry[]> {
  const list: PlacedEntry[] = [];
  for await (const entry of entries) list.push(entry);
  return list;
}

const read = (shards: readonly Shard[], index: number, count: number) =>
  all(readPortions(portionsOf([{ shards }], { index, count }), BEGINNING));

test("each entry falls to exactly one part, whatever the numbers", async () => {
  for (const [archives, folders] of [
    [[7], []],
    [[5, 0, 9, 4], []],
    [[3, 3, 3, 3, 3, 3, 3], []],
    [[], [11, 2]],
    [[6, 1], [5]],
  ] as const) {
    const shards = [
      ...archives.map((size, i) => shard(`${i}.tar`, size)),
      ...folders.map((size, i) => inMemory(`folder ${i}`, size)),
    ];
    const expected = (await read(shards, 0, 1)).map(nameOf);
    assert.equal(
      new Set(expected).size,
      [...archives, ...folders].reduce((a: number, b) => a + b, 0),
    );
    for (const count of [1, 2, 3, 4, 5, 8, 30]) {
      const parts = await Promise.all(
        Array.from({ length: count }, (_, index) => read(shards, index, count)),
      );
      assert.deepEqual(parts.flat().map(nameOf).sort(), expected.toSorted(), `${count} parts`);
    }
  }
});

test("parts are about equal, and none reads more than one shard that it shares", async () => {
  for (const count of [2, 3, 5, 8]) {
    const shards = Array.from({ length: 11 }, (_, i) => shard(`${i}.tar`, 40));
    const sizes: number[] = [];
    for (let index = 0; index < count; index++) {
      const before = shards.reduce((sum, { reads }) => sum + reads, 0);
      sizes.push((await read(shards, index, count)).length);
      const reads = shards.reduce((sum, { reads }) => sum + reads, 0) - before;
      assert.ok(reads <= Math.ceil(11 / count), `${reads} of ${count}`);
    }
    // What remains is split by whole shards' worth among its parts.
    assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 40, `${sizes}`);
  }
});

test("reading goes on from any position as if it had not stopped", async () => {
  const shards = [shard("a.tar", 4), inMemory("b", 7), shard("c.tar", 0), shard("d.tar", 5)];
  for (const index of [0, 1]) {
    const portions = portionsOf([{ shards }], { index, count: 2 });
    const whole = await all(readPortions(portions, BEGINNING));
    for (const [i, { next }] of whole.entries()) {
      const rest = await all(readPortions(portions, next));
      assert.deepEqual(rest.map(nameOf), whole.slice(i + 1).map(nameOf));
    }
  }
});

test("what is out of reach of a shared shard is every part's own; what is damaged is one part's", async () => {
  for (const [reason, seen] of [
    [`${CANNOT_BE_READ}: gone`, 3],
    ["the shard is truncated: here", 1],
  ] as const) {
    const shards = [shard("a.tar", 4, [{ where: "a.tar", reason, rest: true }])];
    const parts = await Promise.all([0, 1, 2].map((index) => read(shards, index, 3)));
    assert.equal(parts.flat().filter(({ entry }) => "reason" in entry).length, seen);
  }
});

test("samples are counted beforehand where all are in memory", () => {
  const counts = (shards: readonly Shard[]) =>
    [0, 1, 2].map((index) => samplesIn(portionsOf([{ shards }], { index, count: 3 })));
  assert.deepEqual(counts([inMemory("a", 7), inMemory("b", 1)]), [4, 2, 2]);
  assert.deepEqual(counts([inMemory("a", 7), shard("b.tar", 1)])[0], undefined);
});
