import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ClipsmithError } from "../util/errors.js";
import {
  readSafetensors,
  readSafetensorsHeader,
  type SafetensorsTensor,
  writeSafetensors,
} from "./safetensors.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-safetensors-"));
after(() => rmSync(folder, { recursive: true }));

const tensors = new Map<string, SafetensorsTensor>([
  ["flags", { dtype: "BOOL", shape: [3], data: Uint8Array.of(1, 0, 1) }],
  ["bytes", { dtype: "U8", shape: [1], data: Uint8Array.of(255) }],
  ["signed", { dtype: "I8", shape: [1], data: Int8Array.of(-128) }],
  ["short", { dtype: "I16", shape: [1], data: Int16Array.of(-32768) }],
  ["half", { dtype: "F16", shape: [1], data: Uint16Array.of(0x3c00) }],
  ["brain", { dtype: "BF16", shape: [1, 1], data: Uint16Array.of(0x3f80) }],
  ["ints", { dtype: "I32", shape: [2], data: Int32Array.of(-1, 2) }],
  ["weight", { dtype: "F32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, -0.5) }],
  ["scalar", { dtype: "F64", shape: [], data: Float64Array.of(Math.PI) }],
  ["long", { dtype: "I64", shape: [1], data: BigInt64Array.of(-(2n ** 63n)) }],
  ["nothing", { dtype: "F32", shape: [0, 5], data: new Float32Array(0) }],
  ["__proto__", { dtype: "F32", shape: [1], data: Float32Array.of(7) }],
  ['größe "1"', { dtype: "F32", shape: [1], data: Float32Array.of(8) }],
]);

/** A file's bytes around a header of one's own. */
function bytesOf(header: string | Uint8Array, dataBytes = 0): Uint8Array {
  const text = Buffer.from(header);
  const file = Buffer.alloc(8 + text.length + dataBytes);
  file.writeBigUInt64LE(BigInt(text.length));
  text.copy(file, 8);
  return file;
}

const entry = (shape: number[], begin: number, end: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

async function refuses(bytes: Uint8Array, message: RegExp): Promise<void> {
  const isRefusal = (error: unknown) => {
    assert.ok(error instanceof ClipsmithError, `${error}`);
    assert.match(error.message, message);
    return true;
  };
  await assert.rejects(readSafetensors(bytes), isRefusal);
  const path = join(folder, "refused.safetensors");
  writeFileSync(path, bytes);
  await assert.rejects(readSafetensors(path), (error) => {
    assert.ok((error as Error).message.includes(path));
    return isRefusal(error);
  });
  await assert.rejects(readSafetensorsHeader(path), isRefusal);
}

test("all dtypes come back as written, from a file and from bytes of any alignment", async () => {
  const path = join(folder, "all.safetensors");
  const metadata = { format: "pt", note: "größer" };
  await writeSafetensors(path, tensors, metadata);
  const bytes = readFileSync(path);
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  for (const source of [path, bytes, shifted.subarray(3), Buffer.from(shifted.buffer, 3)]) {
    const read = await readSafetensors(source);
    assert.deepEqual(read.metadata, metadata);
    assert.deepEqual(new Map([...read.tensors].sort()), new Map([...tensors].sort()));
  }
  assert.deepEqual(readdirSync(folder), ["all.safetensors"]);
});

test("the bytes on disk are those of the format", async () => {
  const path = join(folder, "small.safetensors");
  await writeSafetensors(
    path,
    new Map<string, SafetensorsTensor>([
      ["a", { dtype: "I8", shape: [1], data: Int8Array.of(-1) }],
      ["b", { dtype: "F32", shape: [1], data: Float32Array.of(1) }],
    ]),
  );
  const header =
    '{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"I8","shape":[1],"data_offsets":[4,5]}}';
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8, " ");
  const expected = Buffer.concat([
    Buffer.from([padded.length, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from(padded),
    Buffer.from([0, 0, 0x80, 0x3f, 0xff]),
  ]);
  assert.deepEqual(readFileSync(path), expected);
});

test("tensors of bytes in memory are views where they can be", async () => {
  const path = join(folder, "views.safetensors");
  await writeSafetensors(path, tensors);
  const bytes = new Uint8Array(readFileSync(path));
  const read = await readSafetensors(bytes);
  for (const { data } of read.tensors.values()) assert.equal(data.buffer, bytes.buffer);
});

test("a view in a larger buffer is written as far as it goes", async () => {
  const path = join(folder, "view.safetensors");
  const data = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
  await writeSafetensors(path, new Map([["a", { dtype: "F32", shape: [2], data }]]));
  const { tensors: read } = await readSafetensors(path);
  assert.deepEqual([...read.get("a")!.data], [2, 3]);
});

test("a header that is none is refused", async () => {
  await refuses(new Uint8Array(3), /at least 8 bytes, found 3/);
  await refuses(bytesOf("{}").subarray(0, 9), /cut short within its header: expected at least 10/);
  await refuses(new Uint8Array(16).fill(255), /at most 100000000 bytes, found/);
  await refuses(bytesOf("[]"), /begin with \{, found "\["/);
  await refuses(bytesOf(" {}"), /begin with \{, found " "/);
  await refuses(bytesOf("{"), /a header of JSON/);
  await refuses(bytesOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22)), /a header of JSON in UTF-8/);
});

test("a malformed entry is refused with its name", async () => {
  const one = (value: unknown, dataBytes = 4) =>
    bytesOf(JSON.stringify({ "layer.weight": value }), dataBytes);
  await refuses(one(7), /tensor layer\.weight is malformed/);
  await refuses(
    one(entry([1], 0, 4, "F8_E4M3")),
    /layer\.weight is malformed[\s\S]*"F64"[\s\S]*dtype/,
  );
  await refuses(one(entry([-1], 0, 4)), /layer\.weight is malformed[\s\S]*shape/);
  await refuses(one(entry([0.5], 0, 4)), /layer\.weight is malformed[\s\S]*shape/);
  await refuses(one({ ...entry([1], 0, 4), extra: 1 }), /layer\.weight is malformed[\s\S]*extra/);
  await refuses(one({ dtype: "F32", shape: [1] }), /layer\.weight is malformed[\s\S]*data_offsets/);
  await refuses(one(entry([2], 0, 4)), /layer\.weight: expected 8 bytes for F32 \[2\], found/);
  await refuses(one(entry([1], 4, 0)), /layer\.weight: expected 4 bytes/);
  await refuses(one(entry([2 ** 31, 2 ** 31], 0, 4)), /layer\.weight: expected \d+ bytes/);
});

test("data must fill the file with neither hole nor overlap", async () => {
  const two = (a: object, b: object, dataBytes: number) =>
    bytesOf(JSON.stringify({ a, b }), dataBytes);
  await refuses(
    two(entry([1], 0, 4), entry([1], 8, 12), 12),
    /tensor b: expected .* offset 4, .* 8/,
  );
  await refuses(two(entry([2], 0, 8), entry([1], 4, 8), 8), /tensor b: expected .* offset 8, .* 4/);
  await refuses(
    two(entry([1], 4, 8), entry([1], 8, 12), 12),
    /tensor a: expected .* offset 0, .* 4/,
  );
  const right = two(entry([1], 0, 4), entry([1], 4, 8), 8);
  await refuses(right.subarray(0, -1), /cut short within tensor b: expected \d+ bytes, found/);
  await refuses(right.subarray(0, -5), /cut short within tensor a/);
  await refuses(Buffer.concat([right, Buffer.of(0)]), /belong to no tensor/);
  assert.equal((await readSafetensors(right)).tensors.size, 2);
});

test("duplicate keys are refused, in tensors, metadata and entries", async () => {
  const a = JSON.stringify(entry([1], 0, 4));
  await refuses(bytesOf(`{"a":${a},"a":${a}}`, 4), /found "a" twice/);
  await refuses(bytesOf(`{"a":${a},"\\u0061" :${a}}`, 4), /found "a" twice/);
  await refuses(bytesOf(`{"__metadata__":{"k":"1","k":"2"}}`), /found "k" twice/);
  await refuses(bytesOf(`{"a":{"dtype":"F32",${a.slice(1)}}`, 4), /found "dtype" twice/);
  const tricky = { __metadata__: { a: '{"a":1,"a":2}', "\\": '"a":' }, a: entry([1], 0, 4) };
  const read = await readSafetensors(bytesOf(JSON.stringify(tricky), 4));
  assert.deepEqual(read.metadata, tricky.__metadata__);
});

test("metadata maps strings to strings", async () => {
  await refuses(bytesOf('{"__metadata__":{"epoch":3}}'), /__metadata__ to map strings to strings/);
  await refuses(bytesOf('{"__metadata__":[]}'), /__metadata__/);
  const long = { __metadata__: { text: "x\\".repeat(5_000_000) } };
  const read = await readSafetensors(bytesOf(JSON.stringify(long)));
  assert.equal(read.metadata.text?.length, 10_000_000);
});

test("a missing file is named", async () => {
  await assert.rejects(
    readSafetensors(join(folder, "missing.safetensors")),
    (error) => error instanceof ClipsmithError && /missing\.safetensors/.test(error.message),
  );
});

test("the header alone is read without the data, but with a check of the length", async () => {
  const path = join(folder, "header.safetensors");
  await writeSafetensors(path, tensors);
  const { entries } = await readSafetensorsHeader(path);
  assert.deepEqual(entries.map(({ name }) => name).sort(), [...tensors.keys()].sort());
  assert.deepEqual(entries[0], {
    ...entries[0],
    name: "scalar",
    dtype: "F64",
    shape: [],
    bytes: 8,
  });
  truncateSync(path, readFileSync(path).length - 1);
  await assert.rejects(readSafetensorsHeader(path), /cut short within tensor/);
});

test("a tensor that does not fit its shape is not written", async () => {
  const path = join(folder, "wrong.safetensors");
  const data = new Float32Array(5);
  const write = (name: string) =>
    writeSafetensors(path, new Map([[name, { dtype: "F32", shape: [2, 3], data }]]));
  await assert.rejects(write("w"), /tensor w: expected 24 bytes for F32 \[2, 3\], found 20/);
  await assert.rejects(write("__metadata__"), /no tensor may be called __metadata__/);
  await assert.rejects(readSafetensors(path), ClipsmithError);
});

test("without room the old file stays, and the message says how much was needed", {
  skip: process.platform === "win32" && "Windows has no limit on the size of a process's files",
}, async () => {
  const room = join(folder, "room");
  const script = `
    import { mkdirSync } from "node:fs";
    import { writeSafetensors } from ${JSON.stringify(new URL("safetensors.js", import.meta.url))};
    const path = ${JSON.stringify(join(room, "model.safetensors"))};
    mkdirSync(${JSON.stringify(room)});
    const tensors = (count) =>
      new Map([["w", { dtype: "F32", shape: [count], data: new Float32Array(count).fill(count) }]]);
    await writeSafetensors(path, tensors(4));
    await writeSafetensors(path, tensors(1_000_000)).catch((error) => console.log(error.name, error.message));
  `;
  // The shell's unit is 512 or 1024 bytes: at most 100 KB here, and a full disk fails the same way.
  const limited = 'ulimit -f 100 && exec "$0" --input-type=module --eval "$1"';
  const { stdout, stderr } = spawnSync("sh", ["-c", limited, process.execPath, script]);
  assert.match(
    stdout.toString(),
    /^ClipsmithError No room for .*model\.safetensors: it needs 40000\d\d bytes, and \d+ are free/,
    stderr.toString(),
  );
  assert.deepEqual(readdirSync(room), ["model.safetensors"]);
  const { tensors: kept } = await readSafetensors(join(room, "model.safetensors"));
  assert.deepEqual([...kept.get("w")!.data], [4, 4, 4, 4]);
});
