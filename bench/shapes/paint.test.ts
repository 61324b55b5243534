import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../../src/util/random.js";
import { paint } from "./paint.js";
import {
  COLOURS,
  captionOf,
  drawScene,
  RELATIONS,
  type Scene,
  SHAPES,
  type Thing,
} from "./scene.js";

const SIZE = 64;

/** Mean place and number of the pixels that are red, or blue, beyond the tints of backgrounds. */
function find(pixels: ArrayLike<number>, colour: "red" | "blue") {
  let [x, y, count] = [0, 0, 0];
  for (let i = 0; i < SIZE * SIZE; i++) {
    const [r, , b] = [pixels[3 * i]!, pixels[3 * i + 1]!, pixels[3 * i + 2]!];
    if ((colour === "red" ? r - b : b - r) < 90) continue;
    x += i % SIZE;
    y += Math.floor(i / SIZE);
    count++;
  }
  return { x: x / count, y: y / count, count };
}

const red = (size: Thing["size"], shape: Thing["shape"] = "circle"): Thing => ({
  size,
  shape,
  colour: "red",
});
const blue = (size: Thing["size"]): Thing => ({ size, shape: "square", colour: "blue" });

test("things stand as the relation says", () => {
  for (const relation of RELATIONS) {
    for (let i = 0; i < 20; i++) {
      const scene: Scene = { first: red("large"), relation, second: blue("small") };
      const pixels = paint(scene, SIZE, random("relation", i));
      const [first, second] = [find(pixels, "red"), find(pixels, "blue")];
      const apart = {
        "left of": second.x - first.x,
        "right of": first.x - second.x,
        above: second.y - first.y,
        below: first.y - second.y,
      }[relation];
      const across = relation.includes("of") ? second.y - first.y : second.x - first.x;
      assert.ok(apart > 0.2 * SIZE, `${relation}, picture ${i}: ${apart} pixels apart`);
      assert.ok(apart > 0.8 * Math.abs(across), `${relation}, picture ${i} is askew`);
    }
  }
});

test("every large shape covers more than any small one, and less than it would fill", () => {
  for (const shape of SHAPES) {
    for (let i = 0; i < 5; i++) {
      const count = (size: Thing["size"]) => {
        const scene: Scene = { first: red(size, shape), relation: "above", second: blue("small") };
        return find(paint(scene, SIZE, random("size", i)), "red").count;
      };
      const [small, large] = [count("small"), count("large")];
      const most = Math.PI * (0.23 * SIZE + 1) ** 2;
      assert.ok(small > 15 && large > 2 * small && large < most, `${shape}: ${small}, ${large}`);
    }
  }
});

test("equal streams paint equal pictures; others differ in more than noise", () => {
  const scene = drawScene(random(3));
  const one = paint(scene, SIZE, random("a"));
  assert.deepEqual(paint(scene, SIZE, random("a")), one);
  const other = paint(scene, SIZE, random("b"));
  const difference = one.reduce((sum, value, i) => sum + Math.abs(value - other[i]!), 0);
  assert.ok(difference / one.length > 5);
});

test("scenes hold every colour, shape and relation, never the same of both things", () => {
  const scenes = Array.from({ length: 500 }, (_, i) => drawScene(random("scene", i)));
  for (const { first, second } of scenes) {
    assert.notEqual(first.colour, second.colour);
    assert.notEqual(first.shape, second.shape);
  }
  const count = (values: readonly string[]) => new Set(values).size;
  assert.equal(count(scenes.map(({ first }) => first.colour)), COLOURS.length);
  assert.equal(count(scenes.map(({ second }) => second.shape)), SHAPES.length);
  assert.equal(count(scenes.map(({ relation }) => relation)), RELATIONS.length);
});

test("a caption names all", () => {
  const scene: Scene = { first: red("small"), relation: "left of", second: blue("large") };
  assert.equal(captionOf(scene), "a small red circle left of a large blue square");
});
