import assert from "node:assert/strict";
import { test } from "node:test";
import { sslAugmentation } from "../data/index.js";
import { augmentSchema } from "./options.js";

test("the views' augmentation is one that settings can hold", () => {
  assert.deepEqual(augmentSchema.parse(sslAugmentation), sslAugmentation);
});

test("blur needs a deviation, and its range in order", () => {
  const accepts = (blur: object) => augmentSchema.safeParse({ blur }).success;
  assert.ok(accepts({ sigma: [0.1, 2] }));
  assert.ok(accepts({ sigma: [1, 1], probability: 0.5, radius: 2 }));
  for (const blur of [{}, { sigma: [2, 1] }, { sigma: [0, 1] }, { sigma: [1, 2], radius: 0 }]) {
    assert.ok(!accepts(blur), JSON.stringify(blur));
  }
});
