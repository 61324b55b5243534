import assert from "node:assert/strict";
import { test } from "node:test";
import { random, threefry2x32 } from "./random.js";

test("threefry2x32 gives the published test vectors", () => {
  assert.deepEqual(threefry2x32([0, 0], [0, 0]), [0x6b200159, 0x99ba4efe]);
  assert.deepEqual(threefry2x32([-1, -1], [-1, -1]), [0x1cb996fc, 0xbb002be7]);
  assert.deepEqual(
    threefry2x32([0x13198a2e | 0, 0x03707344], [0x243f6a88, 0x85a308d3 | 0]),
    [0xc4923a9c, 0x483df7a0],
  );
});

test("equal keys give equal streams, other keys other streams", () => {
  const draw = (...key: (string | number)[]) => {
    const stream = random(...key);
    return Array.from({ length: 8 }, () => stream.uint32());
  };
  assert.deepEqual(draw(1, "patches", 7), draw(1, "patches", 7));
  assert.notDeepEqual(draw(1, "patches", 7), draw(1, "patches", 8));
  assert.notDeepEqual(draw(1, "patches", 7), draw(17, "patches", ""));
});

test("uniform and normal have their moments", () => {
  const stream = random("moments");
  const count = 100_000;
  let uniform = 0;
  let normal = 0;
  let square = 0;
  for (let i = 0; i < count; i++) {
    uniform += stream.uniform() / count;
    const z = stream.normal();
    normal += z / count;
    square += z ** 2 / count;
  }
  assert.ok(Math.abs(uniform - 0.5) < 0.005, `mean of uniform ${uniform}`);
  assert.ok(Math.abs(normal) < 0.015, `mean of normal ${normal}`);
  assert.ok(Math.abs(square - 1) < 0.02, `variance of normal ${square}`);
});

test("a permutation holds every number once", () => {
  const order = random("permutation").permutation(1000);
  assert.deepEqual(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  assert.notDeepEqual([...order.slice(0, 10)], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});
