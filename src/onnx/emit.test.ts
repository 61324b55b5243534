import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cast,
  constant,
  type DType,
  dtypes,
  gatherElements,
  graph,
  identity,
  input,
  layerNorm,
  mul,
  reshape,
  ScatterElements,
  slice,
  softmax,
  sub,
  transpose,
} from "../graph/index.js";
import { apply } from "../graph/tensor.js";
import { decodeModel, emit, type ModelProto, OPSET } from "./index.js";

const emitted = (...args: Parameters<typeof emit>): ModelProto => decodeModel(emit(...args));
const x = input("x", ["batch", 4]);

/** Attributes of the only node, by name. */
function attributesOf(model: ModelProto) {
  assert.equal(model.graph.node.length, 1);
  const [node] = model.graph.node;
  return Object.fromEntries(node!.attribute.map((attribute) => [attribute.name, attribute]));
}

test("a model says what it is made for and by", () => {
  const metadata = { licence: "MIT", "clipsmith.config": '{"dim":512,"ö":"ü"}' };
  const model = emitted(graph({ y: mul(x, 2) }), { name: "tower", metadata });
  assert.equal(model.irVersion, 10);
  assert.equal(model.producerName, "clipsmith");
  assert.equal(model.graph.name, "tower");
  assert.deepEqual(model.opsetImport, [{ domain: "", version: OPSET }]);
  const pairs = model.metadataProps.map(({ key, value }) => [key, value]);
  assert.deepEqual(Object.fromEntries(pairs), metadata);

  const plain = emitted(graph({ y: mul(x, 2) }));
  assert.equal(plain.graph.name, "clipsmith");
  assert.deepEqual(plain.metadataProps, []);
});

test("inputs and outputs keep names, types and named sizes", () => {
  const ids = input("tokens.ids", ["batch", 3], "int64");
  const model = emitted(graph({ latents: mul(x, 2), "ids again": add(ids, 1) }));
  const seen = [...model.graph.input, ...model.graph.output].map(({ name, type }) => {
    const { elemType, shape } = type.tensorType;
    const dims = shape.dim.map((dim) => ("dimParam" in dim ? dim.dimParam : dim.dimValue));
    return [name, elemType, ...dims];
  });
  assert.deepEqual(seen, [
    ["x", dtypes.float32.onnx, "batch", 4],
    ["tokens.ids", dtypes.int64.onnx, "batch", 3],
    ["latents", dtypes.float32.onnx, "batch", 4],
    ["ids again", dtypes.int64.onnx, "batch", 3],
  ]);
});

test("nodes read what others wrote, by name", () => {
  const model = emitted(graph({ y: sub(mul(x, x), x) }));
  const [first, second] = model.graph.node;
  assert.deepEqual([first!.opType, second!.opType], ["Mul", "Sub"]);
  assert.deepEqual(first!.input, ["x", "x"]);
  assert.deepEqual(second!.input, [first!.output[0], "x"]);
  assert.deepEqual(second!.output, ["y"]);
});

test("attributes of every kind", () => {
  const INT = 2;
  const [FLOAT, STRING, INTS] = [1, 3, 7];

  const { axis } = attributesOf(emitted(graph({ y: softmax(x) })));
  assert.deepEqual([axis!.type, axis!.i], [INT, 1]);

  const { perm } = attributesOf(emitted(graph({ y: transpose(x, [1, 0]) })));
  assert.deepEqual([perm!.type, perm!.ints], [INTS, [1, 0]]);

  const norm = layerNorm(x, input("gain", [4]), 1e-3);
  const { epsilon } = attributesOf(emitted(graph({ y: norm })));
  assert.deepEqual([epsilon!.type, epsilon!.f], [FLOAT, Math.fround(1e-3)]);

  const { to } = attributesOf(emitted(graph({ y: cast(x, "int64") })));
  assert.deepEqual([to!.type, to!.i], [INT, dtypes.int64.onnx]);

  const indices = input("indices", ["batch", 1], "int64");
  const scattered = apply(ScatterElements, [x, indices, gatherElements(x, indices, 1)], {
    axis: 1,
    reduction: "add",
  });
  const node = emitted(graph({ y: scattered })).graph.node.at(-1)!;
  const reduction = node.attribute.find(({ name }) => name === "reduction")!;
  assert.deepEqual([reduction.type, Buffer.from(reduction.s!).toString()], [STRING, "add"]);
});

test("lists that are inputs in ONNX become constants, named sizes -1", () => {
  const model = emitted(graph({ y: reshape(x, ["batch", 2, 2]) }));
  const [constant] = model.graph.initializer;
  assert.deepEqual(model.graph.node[0]!.input, ["x", constant!.name]);
  assert.equal(constant!.dataType, dtypes.int64.onnx);
  assert.deepEqual(constant!.dims, [3]);
  const bytes = Uint8Array.from(constant!.rawData);
  assert.deepEqual([...new BigInt64Array(bytes.buffer)], [-1n, 2n, 2n]);
});

test("the inputs of Slice come in the order that ONNX wants", () => {
  const model = emitted(graph({ y: slice(input("x", [4, 6]), 1, 2, 5) }));
  const lists = model.graph.node[0]!.input.slice(1).map((name) => {
    const { rawData } = model.graph.initializer.find((tensor) => tensor.name === name)!;
    return [...new BigInt64Array(Uint8Array.from(rawData).buffer)];
  });
  assert.deepEqual(lists, [[2n], [5n], [1n]]);
});

for (const dtype of Object.keys(dtypes) as DType[]) {
  test(`constants of ${dtype}`, () => {
    const list = dtype === "bool" ? [1, 0, 1] : dtype === "uint8" ? [0, 7, 255] : [1, -2, 3];
    const model = emitted(graph({ y: identity(constant(list, [3, 1], dtype)) }));
    const [tensor] = model.graph.initializer;
    assert.equal(tensor!.dataType, dtypes[dtype].onnx);
    assert.deepEqual(tensor!.dims, [3, 1]);
    const bytes = Uint8Array.from(tensor!.rawData);
    assert.equal(bytes.length, 3 * dtypes[dtype].bytes);
    assert.deepEqual([...new dtypes[dtype].array(bytes.buffer)].map(Number), list);
  });
}

test("equal constants are stored once, others apart", () => {
  const two = () => constant([2, 2, 2, 2]);
  const y = mul(mul(add(x, two()), two()), constant([2, 2, 2, 3]));
  const z = add(input("n", [4], "int32"), constant([2, 2, 2, 2], [4], "int32"));
  const model = emitted(graph({ y, z, flat: reshape(mul(x, 1), [-1]) }));
  const floats = model.graph.initializer.filter(({ dims }) => dims[0] === 4);
  assert.deepEqual(
    floats.map(({ dataType }) => dataType),
    [dtypes.float32.onnx, dtypes.float32.onnx, dtypes.int32.onnx],
  );
});
