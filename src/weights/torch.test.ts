import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ClipsmithError } from "../util/errors.js";
import { asFloat32 } from "./as-float32.js";
import { readWeights } from "./read-weights.js";
import { readSafetensors, type SafetensorsTensor, writeSafetensors } from "./safetensors.js";
import {
  call,
  checkpoint,
  dict,
  global,
  integer,
  list,
  none,
  type Pickled,
  program,
  tensor,
  text,
  zip,
} from "./testing.js";
import { readTorch, TorchCheckpoint } from "./torch.js";
import { TorchTensor } from "./torch-tensor.js";
import type { TorchValue } from "./torch-value.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-torch-"));
after(() => rmSync(folder, { recursive: true }));

function write(bytes: Uint8Array, name = "checkpoint.pt"): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

async function refuses(bytes: Uint8Array, message: RegExp, key?: string): Promise<void> {
  const path = write(bytes);
  await assert.rejects(readTorch(path, key), (error) => {
    assert.ok(error instanceof ClipsmithError, `${(error as Error).stack}`);
    assert.ok(error.message.includes(path));
    assert.match(error.message, message);
    return true;
  });
}

const six = Float32Array.of(0, 1, 2, 3, 4, 5);
const plain = tensor({ key: "0", length: 6, shape: [2, 3], strides: [3, 1] });

test("tensors are read as views of their storages", async () => {
  const view = (offset: number, shape: readonly number[], strides: readonly number[]) =>
    tensor({ key: "0", length: 6, offset, shape, strides });
  const values = dict({
    plain,
    transposed: view(0, [3, 2], [1, 3]),
    column: view(2, [2, 1], [3, 7]),
    tail: view(4, [2], [1]),
    scalar: view(5, [], []),
    empty: view(6, [0, 3], [3, 1]),
    repeated: view(1, [2, 2], [0, 1]),
    cube: view(0, [1, 3, 2], [6, 1, 3]),
  });
  const read = await readTorch(write(checkpoint(values, { 0: six })));
  const found = [...read].map(([name, { shape, data }]) => [name, shape, [...data]]);
  assert.deepEqual(found, [
    ["plain", [2, 3], [0, 1, 2, 3, 4, 5]],
    ["transposed", [3, 2], [0, 3, 1, 4, 2, 5]],
    ["column", [2, 1], [2, 5]],
    ["tail", [2], [4, 5]],
    ["scalar", [], [5]],
    ["empty", [0, 3], []],
    ["repeated", [2, 2], [1, 2, 1, 2]],
    ["cube", [1, 3, 2], [0, 3, 1, 4, 2, 5]],
  ]);
});

test("storages of every dtype come as safetensors have them", async () => {
  const storages = {
    DoubleStorage: ["F64", Float64Array.of(0, Math.PI)],
    FloatStorage: ["F32", Float32Array.of(0, -1.5)],
    HalfStorage: ["F16", Uint16Array.of(0, 0x3c00)],
    BFloat16Storage: ["BF16", Uint16Array.of(0, 0x3f80)],
    LongStorage: ["I64", BigInt64Array.of(0n, -(2n ** 63n))],
    IntStorage: ["I32", Int32Array.of(0, -(2 ** 31))],
    ShortStorage: ["I16", Int16Array.of(0, -300)],
    CharStorage: ["I8", Int8Array.of(0, -128)],
    ByteStorage: ["U8", Uint8Array.of(0, 255)],
    BoolStorage: ["BOOL", Uint8Array.of(0, 1)],
  } as const;
  const names = Object.keys(storages) as (keyof typeof storages)[];
  const values = Object.fromEntries(
    // From the second to the first, in order and turned round in a matrix.
    names.flatMap((name) => {
      const of = { storage: name, key: name, length: 2 };
      return [
        [name, tensor({ ...of, offset: 1, shape: [1], strides: [1] })],
        [`${name} twice`, tensor({ ...of, shape: [2, 2], strides: [1, 0] })],
      ];
    }),
  );
  const numbers = Object.fromEntries(names.map((name) => [name, storages[name][1]]));
  const read = await readTorch(write(checkpoint(dict(values), numbers)));
  for (const name of names) {
    const [dtype, data] = storages[name];
    assert.deepEqual(read.get(name), { dtype, shape: [1], data: data.slice(1) });
    const twice = read.get(`${name} twice`)!;
    assert.deepEqual([...twice.data], [data[0], data[0], data[1], data[1]]);
    assert.equal(twice.data.constructor, data.constructor);
  }
});

test("equal views share one array, and what is not asked for is not read", async () => {
  const values = dict({
    model: dict({ a: plain, b: plain }),
    optimizer: dict({ moments: tensor({ key: "gone", length: 9, shape: [9], strides: [1] }) }),
  });
  const path = write(checkpoint(values, { 0: six }));
  const read = await readTorch(path, "model");
  assert.equal(read.get("a")!.data, read.get("b")!.data);
  await assert.rejects(readTorch(path, "optimizer"), /moments: expected 36 bytes.*found none/);
});

test("the state dict is found wherever it lies, and its rivals are named", async () => {
  const model = dict({ "a.weight": plain, "b.weight": plain, "c.weight": plain });
  const nested = dict({
    epoch: integer(3),
    none,
    optimizer: dict({
      state: Buffer.concat([Buffer.from("}"), integer(0), model, Buffer.from("s")]),
    }),
    rng: plain,
    checkpoint: dict({ net: model }),
    list: list(dict({ x: plain }), integer(7)),
  });
  const bytes = checkpoint(nested, { 0: six });
  const names = async (key?: string) => [...(await readTorch(write(bytes), key)).keys()];
  assert.deepEqual(await names(), ["a.weight", "b.weight", "c.weight"]);
  assert.deepEqual(await names("checkpoint"), ["a.weight", "b.weight", "c.weight"]);
  assert.deepEqual(await names("list.0"), ["x"]);
  await refuses(bytes, /has no "nett" in checkpoint\. There is net\./, "checkpoint.nett");
  await refuses(bytes, /has no "1" in epoch\. Nothing is inside/, "epoch.1");
  await refuses(bytes, /holds no tensors by name at list\.1/, "list.1");
  await refuses(checkpoint(dict({ epoch: integer(3) })), /holds no tensors by name: it is not/);
  await refuses(checkpoint(plain, { 0: six }), /holds no tensors by name/);
  const averaged = dict({ model, ema: dict({ "a.weight": plain, "b.weight": plain }) });
  await refuses(
    checkpoint(averaged, { 0: six }),
    /several state dicts: model \(3 tensors\), ema \(2 tensors\)\. Say which/,
  );
  // A dict that holds itself: kept in the memo, then set as its own item.
  const circle = Buffer.concat([
    Buffer.from("}q\0"),
    text("self"),
    Buffer.from("h\0s"),
    text("w"),
    plain,
    Buffer.from("s"),
  ]);
  const read = await readTorch(write(checkpoint(circle, { 0: six })));
  assert.deepEqual([...read.keys()], ["w"]);
});

test("plain data of protocols 2 to 5 are read beside the tensors", async () => {
  const operations = Buffer.concat([
    Buffer.from("\x80\x04\x95\0\0\0\0\0\0\0\0(", "latin1"),
    Buffer.from("\x8a\x01\xfe\x8a\x09\0\0\0\0\0\0\0\0\x01\x8a\0", "latin1"),
    Buffer.from("K\xffM\x01\x02J\xff\xff\xff\xffG\x3f\xf8\0\0\0\0\0\0", "latin1"),
    Buffer.from("\x8c\x02\xc3\xa9\x94\x8d\x01\0\0\0\0\0\0\0zh\x00", "latin1"),
    Buffer.from("NC\x01\x07\x88\x89)](K\x01K\x02e]K\x03a\x85", "latin1"),
    Buffer.from("\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R}X\x01\0\0\0aK\x01sb", "latin1"),
    Buffer.from("(K\x01K\x02lK\x050(K\x081K\x092\x86t.", "latin1"),
  ]);
  const path = write(zip({ "saved/data.pkl": operations }));
  assert.deepEqual((await TorchCheckpoint.open(path)).value, [
    ...[-2, 2n ** 64n, 0, 255, 513, -1, 1.5, "é", "z", "é", null],
    Uint8Array.of(7),
    ...[true, false, [], [1, 2], [[3]], new Map(), [1, 2], [9, 9]],
  ]);
});

test("a state dict that is no plain data is refused by its name", async () => {
  const system = global("os", "system");
  const stack = Buffer.concat([text("builtins"), text("eval"), Buffer.from("\x93", "latin1")]);
  const run = (callee: Pickled) => checkpoint(dict({ w: call(callee, text("true")) }));
  await refuses(run(system), /but os\.system\. That is no plain data: .*Clipsmith runs none/);
  await refuses(run(stack), /but builtins\.eval\./);
  await refuses(
    run(global("torch.nn.modules.linear", "Linear")),
    /Save only the weights: torch\.sa/,
  );
  await refuses(run(global("__main__", "constructor")), /but __main__\.constructor/);
  await refuses(checkpoint(system), /but os\.system/);
  await refuses(
    run(global("torch", "ComplexFloatStorage")),
    /but torch\.ComplexFloatStorage\. Only dense/,
  );
  await refuses(run(global("torch._utils", "_rebuild_qtensor")), /Only dense tensors/);
  const build = (object: Pickled) =>
    checkpoint(Buffer.concat([object, dict({ a: none }), Buffer.from("b")]));
  await refuses(build(plain), /damaged: it sets attributes of what has none/);
  await refuses(run(text("print")), /damaged: it calls what is no function/);
  await refuses(run(global("torch", "FloatStorage")), /damaged: it calls what is no function/);
  const bytes = Buffer.from("((\xff", "latin1");
  await refuses(checkpoint(bytes), /operation 0xff at byte 4 is not one of plain data/);
});

test("tensors that reach past their storage are refused", async () => {
  const of = (offset: number, shape: readonly number[], strides: readonly number[]) =>
    checkpoint(dict({ w: tensor({ key: "0", length: 6, offset, shape, strides }) }), { 0: six });
  await refuses(of(1, [2, 3], [3, 1]), /a tensor \[2, 3\] does not fit its storage of 6 elements/);
  await refuses(of(0, [7], [1]), /does not fit/);
  await refuses(of(0, [2 ** 20, 2 ** 20], [0, 0]), /does not fit/);
  await refuses(of(0, [2], []), /makes a tensor in an unknown way/);
  await refuses(of(-1, [2], [1]), /makes a tensor in an unknown way/);
  await refuses(of(0, [2], [-1]), /makes a tensor in an unknown way/);
  await refuses(
    checkpoint(dict({ w: plain }), { 0: six.subarray(1) }),
    /tensor w: expected 24 bytes in data\/0, found 20/,
  );
});

test("damaged and cut files say so", async () => {
  const whole = checkpoint(dict({ w: plain }), { 0: six });
  for (const length of [5, 40, whole.length - 60, whole.length - 1]) {
    await refuses(whole.subarray(0, length), /is cut short.*Copy or download it again/);
  }
  const cutAhead = whole.subarray(20);
  await refuses(Buffer.concat([whole.subarray(0, 4), cutAhead]), /is (damaged|cut short)/);
  await refuses(Buffer.alloc(0), /not a PyTorch checkpoint: .*the file is empty/);
  await refuses(Buffer.from("words"), /expected a zip archive, found .*bytes 776f7264/);
  await refuses(zip({ "readme.txt": "words" }), /has no data\.pkl in a folder/);
  const pickle = program(dict({ w: plain }));
  for (let length = 0; length < pickle.length; length += 7) {
    const cut = zip({ "saved/data.pkl": pickle.subarray(0, length) });
    await refuses(cut, /its pickle is damaged: it ends too early/);
  }
  const raw = (operations: string) => zip({ "saved/data.pkl": Buffer.from(operations, "latin1") });
  await refuses(raw("."), /damaged: its stack is empty/);
  await refuses(raw("N(."), /damaged: its stack is empty/);
  await refuses(raw("t."), /damaged: its stack has no mark/);
  await refuses(raw("h\x07."), /recalls what it has not kept/);
  await refuses(raw("}K\x01a."), /appends to what is no list/);
  await refuses(raw("](K\x01K\x02u."), /sets items of what is no dict/);
  await refuses(raw("}(K\x01u."), /key without a value/);
  await refuses(raw("\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."), /ends too early/);
  await refuses(raw("K\x01Q."), /refers to what is no storage/);
});

test("other formats of PyTorch are named, with the way out", async () => {
  const legacy = Buffer.from("80028a0a6cfc9c46f9206aa850192e8002", "hex");
  await refuses(legacy, /format of torch before 1\.6.*torch\.save\(torch\.load/);
  const values = dict({ w: plain });
  const storages = { 0: six };
  await refuses(checkpoint(values, storages, { "code/net.py": "" }), /is a TorchScript archive/);
  await refuses(checkpoint(values, storages, { "constants.pkl": "" }), /is a TorchScript archive/);
  await refuses(checkpoint(values, storages, { byteorder: "big" }), /on a big-endian machine/);
  await refuses(checkpoint(values, storages, {}, { method: 8 }), /data\.pkl is compressed/);
  const little = checkpoint(values, storages, { byteorder: "little" });
  assert.equal((await readTorch(write(little))).size, 1);
});

test("archives with 64-bit sizes are read", async () => {
  const bytes = checkpoint(dict({ w: plain }), { 0: six }, {}, { large: true });
  const { data } = (await readTorch(write(bytes))).get("w")!;
  assert.deepEqual(data, six);
  await refuses(bytes.subarray(0, -30), /is cut short/);
});

test("weights are read by content, whatever the file is called", async () => {
  const bytes = checkpoint(dict({ w: plain }), { 0: six });
  const expected = new Map<string, SafetensorsTensor>([
    ["w", { dtype: "F32", shape: [2, 3], data: six }],
  ]);
  for (const name of ["a.pt", "a.pth", "a.bin", "a"]) {
    assert.deepEqual(await readWeights(write(bytes, name)), expected);
  }
  for (const name of ["b.safetensors", "b.pt", "b"]) {
    const path = join(folder, name);
    await writeSafetensors(path, expected);
    assert.deepEqual(await readWeights(path), expected);
  }
  await assert.rejects(readWeights(join(folder, "b"), "model"), /nests nothing: leave out the key/);
  await assert.rejects(readWeights(join(folder, "none.pt")), /Cannot open .*none\.pt/);
  await assert.rejects(readWeights(write(Buffer.from("x"), "c.safetensors")), /not a safetensors/);
  await assert.rejects(readWeights(write(Buffer.from("x"), "c.pt")), /not a PyTorch checkpoint/);
});

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

/** Skips a test where the folder of PyTorch's own files is absent. */
function goldenFile(t: TestContext, name: string): string | undefined {
  const path = join(golden, name);
  if (existsSync(path)) return path;
  t.skip(`there is no ${path}; name its folder by CLIPSMITH_GOLDEN`);
  return undefined;
}

const described = () => JSON.parse(readFileSync(join(golden, "checkpoints.json"), "utf8"));

test("PyTorch's own file of a state dict equals the safetensors of the same model", async (t) => {
  const path = goldenFile(t, "base.pt");
  if (!path) return;
  const fixture = (await readSafetensors(join(golden, "base.safetensors"))).tensors;
  const order: string[] = JSON.parse(
    readFileSync(join(golden, "base.json"), "utf8"),
  ).state_dict_order;
  for (const file of [path, join(golden, "base_wrapped.pt")]) {
    const read = await readTorch(file);
    assert.deepEqual([...read.keys()], order);
    for (const [name, tensor] of read) assert.deepEqual(tensor, fixture.get(`param.${name}`), name);
  }
  const wrapped = await TorchCheckpoint.open(join(golden, "base_wrapped.pt"));
  assert.equal((wrapped.value as ReadonlyMap<string, TorchValue>).get("epoch"), 3);
});

test("PyTorch's own file with shared modules repeats their tensors", async (t) => {
  const path = goldenFile(t, "mlm_shared.pt");
  if (!path) return;
  const { aliases, order, checks } = described().mlm_shared;
  const read = await readTorch(path);
  assert.deepEqual([...read.keys()], order);
  for (const [name, { shape, data }] of read) {
    const numbers = [...data].map(Number);
    assert.deepEqual(shape, checks[name].shape);
    const sum = numbers.reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - checks[name].sum) < 1e-6 * (1 + checks[name].abs_sum), name);
  }
  for (const [alias, name] of Object.entries<string>(aliases)) {
    assert.equal(read.get(alias)!.data, read.get(name)!.data, alias);
  }
});

test("PyTorch's own file of odd tensors and nested data is read to the last value", async (t) => {
  const path = goldenFile(t, "tricky.pt");
  if (!path) return;
  const checkpoint = await TorchCheckpoint.open(path);
  const torchNames: Record<string, string> = {
    ...{ F32: "float32", F64: "float64", F16: "float16", BF16: "bfloat16", BOOL: "bool" },
    ...{ I64: "int64", I32: "int32", I16: "int16", I8: "int8", U8: "uint8" },
  };
  /** In the form of the description. */
  const plainly = async (value: TorchValue): Promise<unknown> => {
    if (value instanceof TorchTensor) {
      const read = (await checkpoint.read(new Map([["it", value]]))).get("it")!;
      const { dtype, shape, data } = read;
      const isHalf = dtype === "F16" || dtype === "BF16";
      const values = [...(isHalf ? asFloat32(read) : data)].map(Number);
      return { dtype: torchNames[dtype], shape, values };
    }
    if (Array.isArray(value)) return Promise.all(value.map(plainly));
    if (!(value instanceof Map)) return value;
    const entries: [string, unknown][] = [];
    for (const [key, child] of value) entries.push([key, await plainly(child)]);
    return Object.fromEntries(entries);
  };
  assert.deepEqual(await plainly(checkpoint.value), described().tricky);
});
