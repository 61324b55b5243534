import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { type ParquetWriteOptions, parquetWriteBuffer } from "hyparquet-writer";
import { ClipsmithError } from "../util/errors.js";
import { type ByteFile, Unreadable } from "./byte-file.js";
import { parquetShard } from "./parquet-shard.js";
import { entriesOf, memoryFile, tableOf } from "./testing.js";

type Columns = ParquetWriteOptions["columnData"];
type Options = Omit<ParquetWriteOptions, "writer" | "columnData">;

function write(columnData: Columns, options: Options = {}): Uint8Array {
  return new Uint8Array(parquetWriteBuffer({ columnData, ...options }));
}

const shardOf = (bytes: Uint8Array, options = {}) =>
  parquetShard("s.parquet", () => memoryFile(bytes), options);
const read = async (bytes: Uint8Array, options = {}) =>
  tableOf(await entriesOf(shardOf(bytes, options)));

const bytesOf = (text: string) => new TextEncoder().encode(text);
const pictures = (count: number) =>
  Array.from({ length: count }, (_, i) => bytesOf(`picture ${i}`));
const texts = (count: number) => Array.from({ length: count }, (_, i) => `caption ${i}`);
const table = (count: number): Columns => [
  { name: "jpg", data: pictures(count), type: "BYTE_ARRAY" },
  { name: "caption", data: texts(count), type: "STRING" },
];
const expected = (count: number) =>
  pictures(count).map((_, i) => [`s.parquet:${i + 1}`, `picture ${i}`, [`caption ${i}`]]);

/** As zstd without compressing: a frame of one raw block. */
function zstd(input: Uint8Array): Uint8Array {
  const out = Buffer.alloc(12 + input.length);
  out.writeUInt32LE(0xfd2fb528, 0);
  out[4] = 0xa0;
  out.writeUInt32LE(input.length, 5);
  out.writeUIntLE((input.length << 3) | 1, 9, 3);
  out.set(input, 12);
  return out;
}

test("columns of bytes and of captions, in every usual compression", async () => {
  for (const codec of ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD"] as const) {
    const compressors = { GZIP: gzipSync, ZSTD: zstd };
    const bytes = write(table(5), { codec, compressors, rowGroupSize: 2 });
    assert.deepEqual(await read(bytes), expected(5), codec);
  }
});

test("Hugging Face's pictures, lists of captions, and bytes under any one name", async () => {
  const schema = [
    { name: "root", num_children: 3 },
    { name: "image", num_children: 2, repetition_type: "OPTIONAL" },
    { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
    { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    { name: "file_name", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    { name: "Text", num_children: 1, converted_type: "LIST", repetition_type: "OPTIONAL" },
    { name: "list", num_children: 1, repetition_type: "REPEATED" },
    { name: "element", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
  ] as const satisfies Options["schema"];
  const image = [
    { bytes: bytesOf("one"), path: "1.jpg" },
    { bytes: null, path: "https://example.org/2.jpg" },
    { bytes: null, path: null },
    null,
    { bytes: bytesOf(""), path: null },
  ];
  const file_name = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"];
  const text = [["first", "second"], ["a"], ["b"], ["c"], ["d"]];
  const bytes = write(
    [
      { name: "image", data: image },
      { name: "file_name", data: file_name },
      { name: "Text", data: text },
    ],
    { schema: [...schema] },
  );
  assert.deepEqual(await read(bytes), [
    ["s.parquet:1", "one", ["first", "second"]],
    ["s.parquet:2", "the picture is a web address, download it first: https://example.org/2.jpg"],
    ["s.parquet:3", "no picture"],
    ["s.parquet:4", "no picture"],
    ["s.parquet:5", "the picture is empty"],
  ]);

  const other = write([
    { name: "thumbnail", data: pictures(1), type: "BYTE_ARRAY" },
    { name: "text", data: ["x"], type: "STRING" },
    { name: "path", data: ["1.jpg"], type: "STRING" },
  ]);
  assert.deepEqual(await read(other), [["s.parquet:1", "picture 0", ["x"]]]);
});

test("a row without picture or caption, or with a picture too large, is left out", async () => {
  const bytes = write([
    {
      name: "image",
      data: [bytesOf("one"), undefined, bytesOf("three".repeat(100)), bytesOf("four")],
      type: "BYTE_ARRAY",
      nullable: true,
    },
    { name: "caption", data: [" ", "two", "three", undefined], type: "STRING", nullable: true },
  ]);
  assert.deepEqual(await read(bytes, { maxEntryBytes: 100 }), [
    ["s.parquet:1", "no caption"],
    ["s.parquet:2", "no picture"],
    ["s.parquet:3", "the picture is too large: 0.0 MB, the limit is 0.0 MB"],
    ["s.parquet:4", "no caption"],
  ]);
});

test("pictures that are paths need a folder on this machine", async () => {
  const bytes = write([
    { name: "path", data: ["parquet-shard.test.js", "nowhere.png"], type: "STRING" },
    { name: "caption", data: texts(2), type: "STRING" },
  ]);
  const [here, lost] = await entriesOf(shardOf(bytes, { folder: import.meta.dirname }));
  assert.ok(here && "picture" in here && here.picture === import.meta.filename);
  assert.deepEqual(lost, {
    where: "s.parquet:2",
    reason: "the picture does not exist: nowhere.png",
  });
  const [, reason] = (await read(bytes))[0] as string[];
  assert.match(reason!, /^the picture is a path, .*: parquet-shard\.test\.js$/);
});

test("reading from the n-th entry gives the tail, and passes over row groups unread", async () => {
  const bytes = write(table(20), { codec: "UNCOMPRESSED", rowGroupSize: 5 });
  const all = await entriesOf(shardOf(bytes));
  for (const start of [0, 1, 4, 5, 6, 19, 20, 21]) {
    assert.deepEqual(await entriesOf(shardOf(bytes), start), all.slice(start), `from ${start}`);
  }
  const first = Buffer.from(bytes).indexOf("picture 0");
  const second = Buffer.from(bytes).indexOf("picture 5");
  const asked: number[] = [];
  const file: ByteFile = {
    ...memoryFile(bytes),
    read: (start, end) => {
      asked.push(start!);
      return memoryFile(bytes).read(start, end);
    },
  };
  // The table of contents of a file this small is read together with its rows.
  await entriesOf(
    parquetShard("s.parquet", () => file, {}),
    17,
  );
  assert.ok(first < second);
  const rows = asked.filter((start) => start > 4 && start < bytes.length - 100);
  assert.ok(rows.length > 0 && rows.every((start) => start > second), `${asked}`);
});

test("a row group that cannot be decoded loses its own rows alone", async () => {
  const bytes = write(table(6), { codec: "UNCOMPRESSED", rowGroupSize: 2 });
  const at = Buffer.from(bytes).indexOf("picture 2");
  // The length of a picture stands before it.
  bytes.fill(0xff, at - 4, at);
  const entries = await read(bytes);
  assert.deepEqual(
    [entries.slice(0, 2), entries.slice(4)],
    [expected(6).slice(0, 2), expected(6).slice(4)],
  );
  for (const row of [3, 4]) {
    const [where, reason] = entries[row - 1] as string[];
    assert.equal(where, `s.parquet:${row}`);
    assert.match(reason!, /^the row cannot be read: /);
  }
});

test("counts of rows that contradict each other are refused before they are believed", async () => {
  const bytes = write(table(100), { rowGroupSize: 100 });
  // 100 as a zigzag varint, wherever the table of contents has it: most are numbers of rows.
  const footer = bytes.length - 8 - new DataView(bytes.buffer).getUint32(bytes.length - 8, true);
  const at = bytes.lastIndexOf(0xc8);
  assert.ok(at > footer && bytes[at + 1] === 0x01);
  bytes.set([0xff, 0x7f], at);
  assert.deepEqual(await read(bytes), [
    ["s.parquet", "the shard is damaged: its counts of rows contradict each other"],
  ]);
});

test("bytes that cannot be got end the shard, once, whatever the columns", async () => {
  const image = texts(4).map((path) => ({ bytes: bytesOf("picture"), path }));
  const bytes = write(
    [
      { name: "image", data: image },
      { name: "caption", data: texts(4) },
    ],
    {
      rowGroupSize: 2,
      schema: [
        { name: "root", num_children: 2 },
        { name: "image", num_children: 2, repetition_type: "OPTIONAL" },
        { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
        { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
        { name: "caption", type: "BYTE_ARRAY", converted_type: "UTF8" },
      ],
    },
  );
  let reads = 0;
  const file: ByteFile = {
    ...memoryFile(bytes),
    async *read(start, end) {
      // The table of contents, and what the first row group needs.
      if (++reads > 2) throw new Unreadable("the shard cannot be read", "for a test");
      yield* memoryFile(bytes).read(start, end);
    },
  };
  const entries = tableOf(await entriesOf(parquetShard("s.parquet", () => file)));
  assert.deepEqual(entries, [
    ["s.parquet:1", "picture", ["caption 0"]],
    ["s.parquet:2", "picture", ["caption 1"]],
    ["s.parquet", "the shard cannot be read: for a test"],
  ]);
});

test("files that are none, cut off or empty are one entry", async () => {
  const bytes = write(table(6));
  const reason = async (file: Uint8Array) => {
    const entries = await read(file);
    assert.equal(entries.length, 1);
    return (entries[0] as string[])[1]!;
  };
  assert.match(await reason(bytes.subarray(0, -20)), /^the shard is truncated: /);
  assert.match(await reason(Buffer.from("<html>".repeat(50))), /^the shard is damaged: /);
  assert.equal(await reason(new Uint8Array()), "the shard is empty");
  assert.equal(await reason(write(table(0))), "the shard is empty");
});

test("a file without a column of pictures or of captions names those it has", async () => {
  const urls = write([
    { name: "url", data: ["https://example.org/1.jpg"], type: "STRING" },
    { name: "caption", data: ["x"], type: "STRING" },
  ]);
  await assert.rejects(
    read(urls),
    (error) =>
      error instanceof ClipsmithError &&
      /s\.parquet has no column of pictures: its columns are "url", "caption"\. Say which one it is by --picture-column, or name it path, .*\.$/.test(
        error.message,
      ),
  );
  const labels = write([
    { name: "img", data: pictures(1), type: "BYTE_ARRAY" },
    { name: "label", data: [1], type: "INT32" },
  ]);
  await assert.rejects(read(labels), /no column of captions: its columns are "img", "label"/);
});
