import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, type Graph, graph, input, type Tensor, type Value } from "../graph/index.js";
import { assertClose, floats, numbers } from "../graph/testing.js";
import { Scope } from "../nn/index.js";
import { VisionTransformer } from "./vision-transformer.js";

const BATCH = 2;
const WIDTH = 6;
const PATCHES = 4;
const KEPT = 2;

const scope = new Scope();
const encoder = new VisionTransformer(scope, {
  width: WIDTH,
  imageSize: 4,
  patchSize: 2,
  channels: 1,
  depth: 2,
  heads: 2,
  dimHead: 4,
});
const pictures = input("pictures", [BATCH, 1, 4, 4]);
const kept = input("kept", [BATCH, KEPT], "int32");
const values: Record<string, Value> = {
  pictures: floats([BATCH, 1, 4, 4]),
  kept: numbers([3, 0, 1, 2], [BATCH, KEPT], "int32"),
};
for (const [name, { shape }] of scope.parameters) values[name] = floats(shape, -1, 1, name);

const run = (g: Graph) =>
  evaluate(g, Object.fromEntries([...g.inputs.keys()].map((name) => [name, values[name]!])));
const dataOf = (x: Tensor) => run(graph({ x })).x!.data;
const layer = (name: number | string, patches?: Tensor) =>
  encoder.representation(name, pictures, patches);

test("the places of children are x-clip's, and -1 is the output", () => {
  for (const [name, places] of [
    ["to_tokens", [0, -5]],
    ["patch_dropout", [2, -3]],
    ["transformer", [3, -2]],
    ["to_cls_tokens", [4]],
  ] as const) {
    for (const place of places) assert.deepEqual(dataOf(layer(place)), dataOf(layer(name)), name);
  }
  assert.deepEqual(layer(-1).shape, [BATCH, 1 + PATCHES, WIDTH]);
  assert.deepEqual(dataOf(layer(-1)), dataOf(encoder.call(pictures)));
});

test("a hidden layer's tokens are one row a picture; patches are dropped after to_tokens", () => {
  for (const [name, all, few] of [
    ["to_tokens", PATCHES, PATCHES],
    ["patch_dropout", PATCHES, KEPT],
    ["transformer.layers.1", PATCHES, KEPT],
    ["transformer", PATCHES, KEPT],
    ["to_cls_tokens", 1, 1],
  ] as const) {
    assert.deepEqual(layer(name).shape, [BATCH, all * WIDTH], name);
    assert.equal(encoder.representationWidth(name), all * WIDTH, name);
    assert.deepEqual(layer(name, kept).shape, [BATCH, few * WIDTH], name);
    assert.equal(encoder.representationWidth(name, KEPT), few * WIDTH, name);
  }
  assert.equal(encoder.representationWidth(-1, KEPT), WIDTH);
});

test("hidden layers are the encoder's own steps", () => {
  const [tokens, placed] = [dataOf(layer("to_tokens")), dataOf(layer("patch_dropout"))];
  const positions = values["pos_emb.weight"]!.data;
  const rowWidth = PATCHES * WIDTH;
  assertClose(
    placed,
    tokens.map((x, i) => x + positions[i % rowWidth]!),
    1e-12,
    "positions",
  );

  const sum = (...names: string[]) => {
    const parts = names.map((name) => dataOf(layer(`transformer.${name}`)));
    return parts[0]!.map((_, i) => parts.reduce((total, part) => total + part[i]!, 0));
  };
  const stream = (name: string) => dataOf(layer(`transformer.${name}`));
  assertClose(stream("layers.0"), sum("norm_in", "layers.0.0", "layers.0.1"), 1e-12, "layer 0");
  assertClose(stream("layers.1"), sum("layers.0", "layers.1.0", "layers.1.1"), 1e-12, "layer 1");
  assert.deepEqual(stream("norm_out"), dataOf(layer("transformer")));

  const output = dataOf(encoder.call(pictures));
  const picture = (1 + PATCHES) * WIDTH;
  const [pooled, encoded] = [dataOf(layer("to_cls_tokens")), dataOf(layer("transformer"))];
  for (let row = 0; row < BATCH; row++) {
    const own = output.subarray(row * picture, (row + 1) * picture);
    assert.deepEqual(own.slice(0, WIDTH), pooled.slice(row * WIDTH, (row + 1) * WIDTH));
    assert.deepEqual(own.slice(WIDTH), encoded.slice(row * rowWidth, (row + 1) * rowWidth));
  }
});

test("a layer that is not there is refused, and positions, which are no picture's", () => {
  for (const name of ["transformer.layers.2", "pos_emb", "", 1, 5, -6]) {
    assert.throws(() => layer(name), {
      name: "ClipsmithError",
      message: new RegExp(
        `no hidden layer ${JSON.stringify(name)} .*choose -1 .*save pos_emb, or one of "to_tokens".*"transformer.layers.1"`,
      ),
    });
  }
});
