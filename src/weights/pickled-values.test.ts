import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ClipsmithError } from "../util/errors.js";
import { Opaque } from "./pickle.js";
import { copyTensor } from "./read-torch-tensor.js";
import {
  call,
  checkpoint,
  dict,
  global,
  integer,
  list,
  none,
  type Pickled,
  tensor,
  text,
} from "./testing.js";
import { readTorch, TorchCheckpoint } from "./torch.js";
import { TorchTensor } from "./torch-tensor.js";
import { readTorchPickle, type TorchValue } from "./torch-value.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-pickles-"));
after(() => rmSync(folder, { recursive: true }));

/**
 * Written by CPython 3.11 with numpy 1.26 and 2.4, the same values in each protocol: those of `plain` are
 * plain data, those of `opaque` are not.
 */
const fixtures = fileURLToPath(new URL("../../../test/fixtures/pickles/", import.meta.url));

type Dict = ReadonlyMap<string, TorchValue>;

/** Tensors as their shapes and numbers, dicts as objects. */
function plainly(value: TorchValue): unknown {
  if (value instanceof TorchTensor) {
    const { dtype, shape, data } = copyTensor(value, value.storage.bytes!);
    return [dtype, shape, [...data]];
  }
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, child]) => [key, plainly(child)]));
  }
  return Array.isArray(value) ? value.map(plainly) : value;
}

const plain = {
  ...{ "scalar f8": -2.5, "scalar f4": -2.5, "scalar f2": -2.5 },
  ...{ "scalar i8": -3, "scalar i4": -3, "scalar i2": -3, "scalar i1": -3 },
  ...{ "scalar u8": 3, "scalar u4": 3, "scalar u2": 3, "scalar u1": 3 },
  ...{ large: 2n ** 64n - 1n, true: true, nan: Number.NaN, "big-endian": 1.5, text: "né" },
  C: ["F32", [2, 3], [0, 1, 2, 3, 4, 5]],
  F: ["F32", [2, 3], [0, 1, 2, 3, 4, 5]],
  again: ["F32", [2, 3], [0, 1, 2, 3, 4, 5]],
  half: ["F16", [2], [0x3c00, 0xc000]],
  booleans: ["BOOL", [2], [1, 0]],
  longs: ["I64", [1], [2n ** 62n]],
  "zero-d": ["I32", [], [7]],
  empty: ["F32", [0, 3], []],
  ...{ set: [1], frozenset: ["a"], deque: [1, 2] },
  ...{ defaultdict: { k: [1] }, Counter: { a: 2, b: 1 }, OrderedDict: { a: 1 } },
  bytes: Uint8Array.of(0, 255, 10, 92),
  "no bytes": new Uint8Array(),
  bytearray: Uint8Array.of(128, 97),
  words: 'a\\u0041\n"é❤😀\0',
  numbers: [
    ...[0, 1, -1, 255, 256, 65536, -(2 ** 31), 2 ** 31],
    ...[2n ** 53n + 1n, -(2n ** 70n), 1e300, -0.5, Number.POSITIVE_INFINITY],
  ],
  constants: [true, false, null],
  loop: [1],
  tuples: [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]],
};

/** What the names of opaque values are, in every protocol. */
const opaque: Readonly<Record<string, RegExp>> = {
  Namespace: /^argparse\.Namespace$/,
  "empty Namespace": /^argparse\.Namespace$/,
  datetime: /^datetime\.datetime$/,
  timedelta: /^datetime\.timedelta$/,
  path: /^pathlib\.PurePosixPath$/,
  complex: /^(__builtin__|builtins)\.complex$/,
  Decimal: /^decimal\.Decimal$/,
  Fraction: /^fractions\.Fraction$/,
  uuid: /^uuid\.UUID$/,
  enum: /^lab\.thing\.Colour$/,
  Point: /^lab\.thing\.Point$/,
  partial: /^functools\.partial$/,
  class: /^lab\.thing\.Point$/,
  namedtuple: /^lab\.thing\.Plain$/,
  dict: /^lab\.thing\.MyDict$/,
  list: /^lab\.thing\.MyList$/,
  set: /^lab\.thing\.MySet$/,
  range: /^(__builtin__\.xrange|builtins\.range)$/,
  slice: /^(__builtin__|builtins)\.slice$/,
  function: /^(__builtin__|builtins)\.len$/,
  slots: /^lab\.thing\.Slots$/,
  "named arguments": /^(lab\.thing\.NewArgs|functools\.partial)$/,
  dtype: /^numpy\.dtype$/,
  "complex array": /^numpy\.ndarray of c8$/,
  objects: /^numpy\.ndarray of O8$/,
  structured: /^numpy\.ndarray of V4$/,
  "big-endian array": /^numpy\.ndarray of >f4$/,
  date: /^numpy scalar of M8$/,
  unsigned: /^numpy\.ndarray of u4$/,
  masked: /^numpy\.ma/,
  matrix: /^numpy\.matri/,
  Generator: /^numpy\.random\./,
};

for (const file of readdirSync(fixtures)) {
  test(`plain data of Python and numpy are read, all else is opaque: ${file}`, async () => {
    const pickle = readFileSync(join(fixtures, file));
    const found = readTorchPickle(file, pickle) as ReadonlyMap<string, Dict>;
    assert.deepEqual(plainly(found.get("plain")!), plain);
    assert.equal(found.get("plain")!.get("C"), found.get("plain")!.get("again"));
    for (const [name, value] of found.get("opaque")!) {
      assert.ok(value instanceof Opaque, name);
      assert.match(value.name, opaque[name]!, name);
    }
    // Protocol 0 keeps no tensors outside itself.
    assert.deepEqual([...(found.get("model")?.keys() ?? ["w", "b"])], ["w", "b"]);
  });
}

const six = Float32Array.of(0, 1, 2, 3, 4, 5);
const weight = tensor({ key: "0", length: 6, shape: [2, 3], strides: [3, 1] });
const opcode = (letter: string) => Buffer.from(letter, "latin1");

function write(value: Pickled): string {
  const path = join(folder, "checkpoint.pt");
  writeFileSync(path, checkpoint(value, { 0: six }));
  return path;
}

/** All the ways in which a pickle makes an object and says what is in it. */
const unknown = global("os", "system");
const command = text(`touch ${join(folder, "touched")}`);
const marked = (...items: readonly Pickled[]) => Buffer.concat([opcode("("), ...items]);
const then = (...operations: readonly Pickled[]) => Buffer.concat(operations);
const objects: Readonly<Record<string, Pickled>> = {
  name: unknown,
  "name from the stack": then(text("os"), text("system"), opcode("\x93")),
  call: call(unknown, command),
  "call of a result": call(call(global("builtins", "getattr"), unknown, command), command),
  instance: then(unknown, marked(command, opcode("t\x81"))),
  "instance with names": then(unknown, marked(opcode("t")), dict({ a: command }), opcode("\x92")),
  "old instance": marked(unknown, command, opcode("o")),
  "named old instance": marked(command, Buffer.from("ios\nsystem\n")),
  state: then(call(unknown), dict({ a: command }), opcode("b")),
  "items of a list": then(call(unknown), marked(command, weight, opcode("e"))),
  "item of a list": then(call(unknown), command, opcode("a")),
  "items of a dict": then(call(unknown), marked(text("k"), weight, opcode("u"))),
  "item of a dict": then(call(unknown), command, command, opcode("s")),
  "items of a set": then(call(unknown), marked(command, opcode("\x90"))),
  extension: opcode("\x82\x07"),
  "tensor of an unknown kind": tensor({
    ...{ storage: "ComplexFloatStorage", key: "9", length: 1, shape: [1], strides: [1] },
  }),
  "tensor of an unknown class": call(
    global("torch._tensor", "_rebuild_from_type_v2"),
    ...[global("torch._utils", "_rebuild_tensor_v2"), unknown, list(), dict({})],
  ),
  "items of a known class": call(global("collections", "OrderedDict"), unknown),
  "text in an unknown encoding": call(global("_codecs", "encode"), command, text("rot13")),
  "array of an unknown type": call(
    global("numpy.core.numeric", "_frombuffer"),
    ...[command, call(global("numpy", "dtype"), unknown), list(), text("C")],
  ),
  "array without its numbers": call(
    global("numpy._core.multiarray", "_reconstruct"),
    ...[global("numpy", "ndarray"), list(), text("b")],
  ),
  "number of an unknown kind": call(global("numpy.core.multiarray", "scalar"), unknown, command),
};

for (const [way, object] of Object.entries(objects)) {
  test(`an unknown object harms nothing beside the state dict: ${way}`, async () => {
    const beside = dict({
      args: object,
      nested: list(object, dict({ again: object })),
      model: dict({ w: weight, epoch: integer(1) }),
    });
    const path = write(beside);
    assert.deepEqual((await readTorch(path)).get("w")!.data, six);
    const value = (await TorchCheckpoint.open(path)).value as Dict;
    assert.ok(value.get("args") instanceof Opaque);
    await assert.rejects(readTorch(path, "nested"), /holds no tensors by name at nested, but /);

    await assert.rejects(readTorch(write(dict({ w: weight, v: object }))), (error) => {
      assert.ok(error instanceof ClipsmithError, (error as Error).stack);
      assert.match(
        error.message,
        /checkpoint\.pt: v (in the state dict is|is a tensor of a kind) /,
      );
      return true;
    });
    await assert.rejects(readTorch(write(object)), { name: "ClipsmithError" });
    assert.ok(!existsSync(join(folder, "touched")));
  });
}

test("tensors with attributes are tensors", async () => {
  const make = global("torch._utils", "_rebuild_tensor_v2");
  const storage = then(
    marked(text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), integer(6)),
    opcode("tQ"),
  );
  const args = marked(storage, integer(0), marked(integer(6), opcode("t")));
  const of = (type: Pickled) =>
    call(
      global("torch._tensor", "_rebuild_from_type_v2"),
      ...[make, type, then(args, marked(integer(1), opcode("t")), opcode("t")), dict({})],
    );
  const parameter = call(
    global("torch._utils", "_rebuild_parameter_with_state"),
    ...[weight, opcode("\x88"), dict({}), dict({ tag: none })],
  );
  const read = await readTorch(
    write(dict({ a: of(global("torch.nn.parameter", "Parameter")), b: parameter })),
  );
  assert.deepEqual(
    [...read.values()].map(({ data }) => data),
    [six, six],
  );
});

test("arrays of numpy's are tensors where there are no others, or beside them", async () => {
  const pickle = (shape: readonly number[], bytes: number, code = "f4") =>
    call(
      global("numpy._core.numeric", "_frombuffer"),
      then(opcode("B"), lengthOf(bytes), Buffer.alloc(bytes)),
      call(global("numpy", "dtype"), text(code)),
      marked(...shape.map(integer), opcode("t")),
      text("C"),
    );
  const array = pickle([3], 12);
  const names = async (value: Pickled) => [...(await readTorch(write(value))).keys()];
  assert.deepEqual(await names(dict({ a: array, b: array })), ["a", "b"]);
  assert.deepEqual(await names(dict({ a: array, w: weight })), ["a", "w"]);
  const history = dict({ a: array, b: array, c: array });
  assert.deepEqual(await names(dict({ history, model: dict({ w: weight }) })), ["w"]);
  const read = await readTorch(write(dict({ w: weight, b: pickle([0, 3], 0) })));
  assert.deepEqual(read.get("b"), { dtype: "F32", shape: [0, 3], data: new Float32Array() });
  const refused: readonly (readonly [Pickled, RegExp])[] = [
    [pickle([4], 12), /damaged: an array \[4\] of f4 does not fit its 12 bytes/],
    [pickle([2 ** 30, 2 ** 30], 12), /does not fit/],
    [pickle([-3, -1], 12), /damaged: it makes an array in an unknown way/],
    [pickle([3], 12, "c4"), /v is a tensor of a kind .* \(numpy\.ndarray of c4\)/],
  ];
  for (const [value, message] of refused) {
    await assert.rejects(readTorch(write(dict({ w: weight, v: value }))), message);
  }
});

function lengthOf(bytes: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes);
  return length;
}

test("what a pickle makes is in proportion to what it holds", () => {
  const long = then(text("x".repeat(1000)), opcode("q\x01"));
  const recall = opcode("h\x01");
  const pairs = then(list(...Array(200).fill(marked(none, none, opcode("t")))), opcode("q\x01"));
  const hostile: Readonly<Record<string, readonly [Pickled, Pickled]>> = {
    bytes: [long, call(global("_codecs", "encode"), recall, text("latin1"))],
    dicts: [pairs, call(global("collections", "OrderedDict"), recall)],
  };
  for (const [what, [first, again]] of Object.entries(hostile)) {
    const pickle = then(marked(first, ...Array(1000).fill(again)), opcode("t."));
    assert.throws(() => readTorchPickle(what, pickle), /damaged: it makes far more than it holds/);
  }
  const digits = Buffer.from(`L${"9".repeat(5000)}L\n.`);
  assert.throws(() => readTorchPickle("digits", digits), /damaged: a number is none/);
  const size = call(global("builtins", "bytearray"), integer(2 ** 31 - 1));
  assert.ok(readTorchPickle("size", then(size, opcode("."))) instanceof Opaque);
});

test("damaged text of protocol 0 says so", () => {
  const wrong = ["Ix\n.", "I\n.", "Fabc\n.", "F\n.", "S'a\n.", "Sa\n.", "gx\n.", "g9\n.", "L1"];
  for (const pickle of wrong) {
    assert.throws(() => readTorchPickle("text", Buffer.from(pickle)), /its pickle is damaged/);
  }
});
