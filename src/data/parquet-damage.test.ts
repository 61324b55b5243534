import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parquetWriteBuffer } from "hyparquet-writer";
import { random } from "../util/random.js";
import { NOT_UTF8 } from "./decode-text.js";
import { type ByteColumn, readByteColumn } from "./parquet-pages.js";
import { parquetShard } from "./parquet-shard.js";
import { entriesOf, memoryFile, tableOf } from "./testing.js";

const ROWS = 12;
const fixtures = new URL("../../../test/fixtures/parquet/", import.meta.url);
const fixture = (name: string) =>
  new Uint8Array(readFileSync(new URL(`${name}.parquet`, fixtures)));
const read = async (bytes: Uint8Array) =>
  tableOf(await entriesOf(parquetShard("s.parquet", () => memoryFile(bytes))));
const rows = (captionsOf: (row: number) => readonly string[]) =>
  Array.from({ length: ROWS }, (_, i) => {
    const captions = captionsOf(i);
    return captions.length > 0
      ? [`s.parquet:${i + 1}`, `picture ${i}`, captions]
      : [`s.parquet:${i + 1}`, "no caption"];
  });

const contents: Readonly<Record<string, readonly unknown[]>> = {
  plain: rows((i) => (i === 3 ? [] : [`caption ${i % 4}`])),
  lists: rows((i) => [`first ${i}`, `second ${i % 3}`].slice(0, i % 3)).with(5, [
    "s.parquet:6",
    "no picture",
  ]),
  delta: rows((i) => [`caption ${i}`]),
};

test("what Arrow writes is read, whatever its encodings, compression and pages", async () => {
  for (const [name, expected] of Object.entries(contents)) {
    assert.deepEqual(await read(fixture(name)), expected, name);
  }
});

/** Some bytes from `start` to before `end` changed, in one of four ways. */
function damaged(bytes: Uint8Array, seed: number, start: number, end: number): Uint8Array {
  const draw = random("damage", seed);
  const below = (count: number) => Math.floor(draw.uniform() * count);
  const result = bytes.slice();
  const kind = below(4);
  for (let i = below(3); i >= 0; i--) {
    const at = start + below(end - start);
    const run = kind < 2 ? 1 : Math.min(1 + below(8), end - at);
    for (let j = at; j < at + run; j++) {
      result[j] = kind === 0 ? result[j]! ^ (1 << below(8)) : kind === 2 ? 0xff : below(256);
    }
  }
  return result;
}

/** Where a file's table of contents begins. */
function contentsOf(bytes: Uint8Array): number {
  const { length } = bytes;
  return length - 8 - new DataView(bytes.buffer).getUint32(length - 8, true);
}

test("damaged pages cost their rows at most, and are told row by row", async () => {
  let lost = 0;
  for (const [name, expected] of Object.entries(contents)) {
    const bytes = fixture(name);
    for (let seed = 0; seed < 100; seed++) {
      const entries = (await read(damaged(bytes, seed, 4, contentsOf(bytes)))) as string[][];
      assert.deepEqual(
        entries.map(([where]) => where),
        expected.map((row) => (row as string[])[0]),
        `${name}, ${seed}`,
      );
      const failed = entries.filter(([, reason]) => reason!.startsWith("the row cannot be read: "));
      // Groups of rows fail as a whole, and alone.
      assert.ok([0, 2, 5, 7, 10, 12].includes(failed.length), `${name}, ${seed}`);
      lost += failed.length;
    }
  }
  assert.ok(lost > ROWS * 100, `${lost}`);
});

test("a damaged table of contents ends in samples, or in what is wrong with it", async () => {
  let failed = 0;
  for (const name of Object.keys(contents)) {
    const bytes = fixture(name);
    for (let seed = 0; seed < 100; seed++) {
      const damage = damaged(bytes, seed, contentsOf(bytes), bytes.length);
      try {
        const entries = (await read(damage)) as string[][];
        assert.ok(entries.length >= 1 && entries.length <= ROWS, `${name}, ${seed}`);
        if (/^the shard is (damaged|truncated)/.test(entries.at(-1)![1]!)) failed++;
      } catch (error) {
        // Another name of a column is all that the user could mend.
        assert.match((error as Error).message, /has no column of/, `${name}, ${seed}`);
      }
    }
  }
  assert.ok(failed > 100, `${failed}`);
});

/** A page of version 1. */
function page(values: number, encoding: number, content: readonly number[]): Uint8Array {
  const int = (value: number) => [0x15, ...varint(2 * value)];
  const detail = [...int(values), ...int(encoding), ...int(3), ...int(3), 0];
  const sizes = [...int(content.length), ...int(content.length)];
  return Uint8Array.from([...int(0), ...sizes, 0x2c, ...detail, 0, ...content]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [128 + (value % 128), ...varint(Math.floor(value / 128))];
}

test("counts and lengths that a page invents are not believed", () => {
  const flat = { codec: "UNCOMPRESSED", rows: 2, values: 2, maxDefinition: 0, maxRepetition: 0 };
  const texts = (content: Uint8Array, more = {}) =>
    readByteColumn(content, { ...flat, ...more } as ByteColumn).map((row) => row.join());
  const [a, b] = [
    [1, 0, 0, 0, 65],
    [1, 0, 0, 0, 66],
  ] as const;
  assert.deepEqual(texts(page(2, 0, [...a, ...b])), ["65", "66"]);
  const huge = 2 ** 31 - 1;
  assert.throws(() => texts(page(huge, 0, [...a, ...b])), /a page has more values than its column/);
  assert.throws(() => texts(page(2, 0, [...a, 255, 255, 255, 127, 66])), /a page is cut off/);

  // A run of a billion ends with the values.
  const optional = { maxDefinition: 1 };
  const run = [...varint(2 * 2 ** 30), 1];
  const levels = [run.length, 0, 0, 0, ...run];
  assert.deepEqual(texts(page(2, 0, [...levels, ...a, ...b]), optional), ["65", "66"]);
  assert.throws(
    () => texts(page(2, 8, [...levels, 0]), optional),
    /not in its column's dictionary/,
  );

  // A block of differences: how many numbers, in how many parts; how many in all, and the first.
  const deltas = (...header: readonly number[]) => page(2, 6, header.flatMap(varint));
  assert.deepEqual(texts(Uint8Array.from([...deltas(128, 4, 2, 0, 0, 0, 0, 0, 0)])), ["", ""]);
  for (const [size, parts] of [
    [0, 4],
    [128, 0],
    [huge, 4],
    [2 ** 32 - 128, huge],
  ] as const) {
    assert.throws(() => texts(deltas(size, parts, 2, 0, 0, 0)), /a page is (damaged|cut off)/);
  }
  assert.throws(() => texts(deltas(128, 4, huge, 0, 0, 0)), /a page is damaged/);

  const list = { maxDefinition: 1, maxRepetition: 1 };
  const level = (value: number) => [2, 0, 0, 0, ...varint(2 * 2), value];
  const middle = page(2, 0, [...level(1), ...level(1), ...a, ...b]);
  assert.throws(() => texts(middle, list), /a page begins in the middle of a row/);
  assert.throws(() => texts(Uint8Array.from([0x15, 1, 0])), /a page's header is damaged/);
});

test("texts that are not UTF-8 are left out with the reason", async () => {
  for (const type of ["STRING", "BYTE_ARRAY"] as const) {
    const bytes = (texts: readonly string[]) => texts.map((text) => Buffer.from(text));
    const texts = ["cafe one", "caf\u00e9 two", "tea"];
    const file = parquetWriteBuffer({
      columnData: [
        { name: "jpg", data: bytes(["a", "b", "c"]), type: "BYTE_ARRAY" },
        { name: "text", data: type === "STRING" ? texts : bytes(texts), type },
      ],
      codec: "UNCOMPRESSED",
      statistics: false,
    });
    // Latin-1's e with an accent, in the first one alone.
    Buffer.from(file)[Buffer.from(file).indexOf("cafe one") + 3] = 0xe9;
    assert.deepEqual(await read(new Uint8Array(file)), [
      ["s.parquet:1", NOT_UTF8],
      ["s.parquet:2", "b", ["caf\u00e9 two"]],
      ["s.parquet:3", "c", ["tea"]],
    ]);
  }
});
