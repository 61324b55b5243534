import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP } from "../src/clip/index.js";
import { constant, evaluate, graph } from "../src/graph/index.js";
import { shift, shiftEncoder } from "./shift-encoder.js";

test("a fifth of the channels moves each way, and zeros come in", async () => {
  // Channel c of the place in row y and column x is 100 c + 10 y + x + 1.
  const values = Array.from({ length: 3 * 3 * 5 }, (_, i) => {
    const [place, c] = [Math.floor(i / 5), i % 5];
    return 100 * c + 10 * Math.floor(place / 3) + (place % 3) + 1;
  });
  const { moved } = evaluate(graph({ moved: shift(constant(values, [1, 3, 3, 5])) }), {});
  const channel = (c: number) => Array.from({ length: 9 }, (_, i) => moved!.data[i * 5 + c]);
  assert.deepEqual(channel(0), [0, 0, 0, 1, 2, 3, 11, 12, 13], "down");
  assert.deepEqual(channel(1), [111, 112, 113, 121, 122, 123, 0, 0, 0], "up");
  assert.deepEqual(channel(2), [0, 201, 202, 0, 211, 212, 0, 221, 222], "right");
  assert.deepEqual(channel(3), [302, 303, 0, 312, 313, 0, 322, 323, 0], "left");
  assert.deepEqual(channel(4), [401, 402, 403, 411, 412, 413, 421, 422, 423], "stays");
});

test("stages merge places until what is left is one vector a picture", () => {
  const imageEncoder = shiftEncoder([
    { merge: 4, width: 10, blocks: 1, expand: 2 },
    { merge: 2, width: 15, blocks: 2, expand: 3 },
  ]);
  const clip = new CLIP({ dimImage: 12, dimLatent: 6, visualImageSize: 16 }, { imageEncoder });
  const { image } = clip.inputs("batch");
  assert.deepEqual(clip.embedImage(image).shape, ["batch", 6]);
  const shapes = [...clip.parameters]
    .filter(([name]) => name.startsWith("visual_transformer."))
    .map(([name, { shape }]) => [name.replace("visual_transformer.", ""), shape.join("x")]);
  assert.deepEqual(Object.fromEntries(shapes), {
    "stages.0.merge.weight": "10x48",
    "stages.0.merge.bias": "10",
    "stages.0.blocks.0.norm.g": "10",
    "stages.0.blocks.0.expand.weight": "20x10",
    "stages.0.blocks.0.expand.bias": "20",
    "stages.0.blocks.0.contract.weight": "10x20",
    "stages.1.norm.g": "40",
    "stages.1.merge.weight": "15x40",
    "stages.1.merge.bias": "15",
    "stages.1.blocks.0.norm.g": "15",
    "stages.1.blocks.0.expand.weight": "45x15",
    "stages.1.blocks.0.expand.bias": "45",
    "stages.1.blocks.0.contract.weight": "15x45",
    "stages.1.blocks.1.norm.g": "15",
    "stages.1.blocks.1.expand.weight": "45x15",
    "stages.1.blocks.1.expand.bias": "45",
    "stages.1.blocks.1.contract.weight": "15x45",
    "norm.g": "60",
    "out.weight": "12x60",
  });
});
