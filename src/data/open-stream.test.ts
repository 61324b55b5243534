import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep, setImmediate as tick } from "node:timers/promises";
import { ClipsmithError } from "../util/errors.js";
import { openStream, type StreamOptions } from "./open-stream.js";
import type { Sample, Skipped } from "./sample.js";
import type { SampleSource, SourceSample } from "./source.js";
import type { Streamed } from "./stream.js";
import { type StreamPosition, streamPositionSchema } from "./stream-position.js";

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Samples in memory: "a0", "a1" ... */
const samplesOf = (name: string, count: number): Sample[] =>
  range(count).map((i) => ({ picture: `${name}${i}`, captions: [`caption ${i}`] }));

/** What the tests' sources saw. */
interface Seen {
  entries: number;
  readonly starts: [shard: string, start: number][];
  closed: number;
}

type MadeEntry = SourceSample | Skipped | Error;

/** A source of shards of made entries; an error is thrown at its place. */
function sourceOf(
  shards: readonly (readonly MadeEntry[])[],
  seen: Seen = { entries: 0, starts: [], closed: 0 },
): SampleSource {
  return {
    name: "made",
    shards: shards.map((entries, s) => ({
      name: `shard ${s}`,
      async *read(start = 0) {
        seen.starts.push([`shard ${s}`, start]);
        try {
          for (const entry of entries.slice(start)) {
            await tick();
            if (entry instanceof Error) throw entry;
            seen.entries++;
            yield entry;
          }
        } finally {
          seen.closed++;
        }
      },
    })),
  };
}

/** Stands for the rest of a shard. */
const lostShard = (where: string): Skipped => ({ where, reason: "cut off", rest: true });

/** Shards of so many samples each: "s0/0", "s0/1" ... */
const shardsOf = (...counts: readonly number[]): SourceSample[][] =>
  counts.map((count, s) =>
    range(count).map((i) => ({ name: `s${s}/${i}`, picture: `s${s}/${i}`, captions: ["a"] })),
  );

const nameOf = (entry: Streamed) => ("reason" in entry ? `!${entry.where}` : entry.name);

const placed = (entry: Streamed) => [entry.epoch, nameOf(entry)];

/** The next entries of a stream opened with the options, and where it stood after each of them. */
async function take(count: number, options: StreamOptions) {
  const stream = openStream(options);
  const entries: Streamed[] = [];
  const positions: StreamPosition[] = [stream.position];
  try {
    for (const _ of range(count)) {
      entries.push(await stream.next());
      positions.push(stream.position);
    }
  } finally {
    await stream.close();
  }
  return { entries, names: entries.map(nameOf), positions };
}

/** Whether going on at every position gives the very same entries, with JSON in between. */
async function assertResumable(count: number, options: StreamOptions, after = count) {
  const whole = await take(count + after, options);
  for (const at of range(count + 1)) {
    const position = streamPositionSchema.parse(
      JSON.parse(JSON.stringify(whole.positions[at])) as unknown,
    );
    const rest = await take(after, { ...options, position });
    assert.deepEqual(rest.entries.map(placed), whole.entries.slice(at, at + after).map(placed));
    // Where it stands is the same place, however it got there.
    assert.deepEqual(rest.positions[0], whole.positions[at]);
  }
}

test("samples in memory come once an epoch, in another order each time", async () => {
  const options = { sources: [samplesOf("a", 10)], seed: 3 };
  const { entries, names } = await take(40, options);
  const epochs = range(4).map((e) => names.slice(10 * e, 10 * e + 10));
  for (const epoch of epochs) assert.equal(new Set(epoch).size, 10);
  assert.equal(new Set(epochs.map(String)).size, 4);
  assert.deepEqual(
    entries.map(({ epoch }) => epoch),
    range(40).map((i) => Math.floor(i / 10)),
  );
  assert.notDeepEqual((await take(40, { ...options, seed: 4 })).names, names);
  await assertResumable(23, options);
});

test("a sample listed twice comes twice an epoch, under two names", async () => {
  const [a, b] = samplesOf("a", 2);
  const stream = openStream({ sources: [[a!, b!, a!]], seed: 1 });
  const epoch = [await stream.next(), await stream.next(), await stream.next()];
  assert.deepEqual(epoch.map(nameOf).sort(), ["a0", "a0 (2)", "a1"]);
  assert.equal(epoch.filter((entry) => "picture" in entry && entry.picture === "a0").length, 2);
});

test("shards give every sample once an epoch, mixed, in another order each time", async () => {
  const sources = [sourceOf(shardsOf(9, 20, 1, 0, 14, 6))];
  const options = { sources, seed: 1, shuffleBuffer: 16 };
  const { entries, names } = await take(150, options);
  const epochs = range(3).map((e) => names.slice(50 * e, 50 * e + 50));
  for (const epoch of epochs) assert.equal(new Set(epoch).size, 50);
  assert.equal(new Set(epochs.map(String)).size, 3);
  assert.deepEqual(
    entries.map(({ epoch }) => epoch),
    range(150).map((i) => Math.floor(i / 50)),
  );
  // The first block is of several shards.
  assert.ok(new Set(names.slice(0, 16).map((name) => name.split("/")[0])).size >= 3);
  assert.deepEqual((await take(150, options)).names, names);
  assert.notDeepEqual((await take(150, { ...options, seed: 2 })).names, names);
});

describe("a stream goes on at every position without repeating or leaving out a sample", () => {
  for (const [what, counts, shuffleBuffer] of [
    ["more shards than are read at once", [3, 5, 0, 2, 4, 1, 6], 4],
    ["fewer shards than are read at once", [7, 4], 5],
    ["one shard, of less than a block", [5], 100],
    ["blocks of one", [2, 3, 1], 1],
  ] as const) {
    test(what, () =>
      assertResumable(45, { sources: [sourceOf(shardsOf(...counts))], seed: 5, shuffleBuffer }, 30),
    );
  }

  test("what is left out, and shards that cannot be read", async () => {
    const [a, b, c, d, e] = shardsOf(4, 3, 5, 2, 3) as [MadeEntry[], ...MadeEntry[][]];
    a.splice(2, 0, { where: "row 2", reason: "no caption" });
    b!.push(lostShard("shard 1"));
    const shards = [a, b!, [lostShard("shard 2")], c!, d!, e!];
    const options = { sources: [sourceOf(shards)], seed: 2, shuffleBuffer: 6 };
    const { names } = await take(20, options);
    assert.deepEqual(names.filter((name) => name.startsWith("!")).toSorted(), [
      "!row 2",
      "!shard 1",
      "!shard 2",
    ]);
    assert.equal(new Set(names).size, 20);
    await assertResumable(45, options, 25);
  });

  test("a mixture", () =>
    assertResumable(
      60,
      {
        sources: [sourceOf(shardsOf(3, 4, 2)), samplesOf("m", 5), sourceOf(shardsOf(7))],
        weights: [1, 2, 0.5],
        seed: 5,
        shuffleBuffer: 4,
      },
      25,
    ));
});

test("sources are drawn by weight, whatever they leave out", async () => {
  const broken = shardsOf(40).map((shard) =>
    shard.flatMap((sample): MadeEntry[] => [{ where: sample.name, reason: "no caption" }, sample]),
  );
  const sources = [samplesOf("a", 7), sourceOf(broken)];
  const { names } = await take(1000, { sources, weights: [3, 1], seed: 1 });
  const good = names.filter((name) => !name.startsWith("!"));
  const share = good.filter((name) => name.startsWith("a")).length / good.length;
  assert.ok(Math.abs(share - 0.75) < 0.05, `${share}`);
  // Without weights, all alike.
  const alike = await take(400, { sources: [samplesOf("a", 7), samplesOf("b", 300)], seed: 1 });
  const half = alike.names.filter((name) => name.startsWith("a")).length / 400;
  assert.ok(Math.abs(half - 0.5) < 0.08, `${half}`);
});

test("no more than two blocks are read ahead, and iterators are closed", async () => {
  const seen: Seen = { entries: 0, starts: [], closed: 0 };
  const stream = openStream({
    sources: [sourceOf(shardsOf(50, 50, 50, 50, 50), seen)],
    seed: 1,
    shuffleBuffer: 20,
  });
  // Each of the four shards read in turn has an entry more on its way.
  for (const handedOut of range(100)) {
    await sleep(handedOut % 10 === 0 ? 30 : 0);
    const blocks = Math.max(1, Math.ceil(handedOut / 20) + (handedOut === 0 ? 0 : 1));
    assert.ok(seen.entries <= 20 * blocks + 4, `${seen.entries} after ${handedOut}`);
    await stream.next();
  }
  await stream.close();
  assert.equal(seen.closed, seen.starts.length);
});

test("a lost shard counts for as many entries as others have", async () => {
  const whole = shardsOf(30, 30, 30, 30, 30, 30);
  const cut: MadeEntry[] = [...whole[0]!.slice(0, 10), lostShard("shard 0")];
  const { entries } = await take(800, { sources: [sourceOf([cut, ...whole.slice(1)])], seed: 1 });
  const lost = entries.flatMap((entry) => ("reason" in entry ? [entry.lost] : []));
  assert.ok(lost.length >= 3);
  // Nothing is known at first, perhaps.
  assert.ok(lost[0] === 1 || lost[0] === 20);
  assert.deepEqual(new Set(lost.slice(1)), new Set([20]));
});

test("an epoch without a sample is an error that says why, and never hangs", async () => {
  const none: MadeEntry[] = [{ where: "row 1", reason: "no caption" }];
  for (const [shards, message] of [
    [[[], []], /^made gave no sample in a whole pass over its 2 shards\.$/],
    [[none], /over its shard\.\n {2}row 1: no caption$/],
    [
      [none, [lostShard("shard 1")]],
      /2 shards\.(?=.*\n {2}shard 1: cut off(\n|$))(?=.*\n {2}row 1: no caption(\n|$))/s,
    ],
    [Array(11).fill(none), /11 shards\.\n {2}11 times: no caption \(row 1\)$/],
  ] as const) {
    await assert.rejects(take(12, { sources: [sourceOf(shards)], seed: 1 }), {
      name: "ClipsmithError",
      message,
    });
  }
  // What concerns the whole source is not passed over.
  const wrong = sourceOf([[new ClipsmithError("no column")], ...shardsOf(5)]);
  await assert.rejects(take(20, { sources: [wrong], seed: 1 }), /^ClipsmithError: no column$/);
});

test("a source that has changed begins its next pass", async () => {
  for (const [before, after] of [
    [samplesOf("a", 6), samplesOf("a", 7)],
    [sourceOf(shardsOf(2, 2, 2)), sourceOf(shardsOf(2, 2, 2, 2))],
  ] as const) {
    const { positions } = await take(3, { sources: [before], seed: 1 });
    const { entries } = await take(6, { sources: [after], seed: 1, position: positions[3]! });
    assert.ok(entries.every(({ epoch }) => epoch === 1));
    assert.equal(new Set(entries.map(nameOf)).size, 6);
  }
});

test("positions of other sources, and weights that don't fit, are refused", async () => {
  const memory = samplesOf("a", 4);
  const shards = sourceOf(shardsOf(4));
  const positionOf = async (sources: StreamOptions["sources"]) =>
    (await take(2, { sources, seed: 1 })).positions[2]!;
  for (const [sources, position] of [
    [[memory], await positionOf([shards])],
    [[shards], await positionOf([memory])],
    [[shards], await positionOf([shards, memory])],
    [[memory], await positionOf([shards, memory])],
    [[memory, shards], await positionOf([shards, memory])],
    [[memory, shards], await positionOf([memory])],
    [[memory, memory, memory], await positionOf([memory, memory])],
  ] as const) {
    assert.throws(() => openStream({ sources, seed: 1, position }), {
      name: "ClipsmithError",
      message: /begun over other sources/,
    });
  }
  for (const weights of [[1], [1, 0], [1, 2, 3]]) {
    assert.throws(() => openStream({ sources: [memory, shards], weights, seed: 1 }), {
      name: "ClipsmithError",
      message: /^There must be a weight above 0 for each of the 2 sources; got /,
    });
  }
});
