import assert from "node:assert/strict";
import { test } from "node:test";
import { add, evaluate, graph } from "../graph/index.js";
import { numbers } from "../graph/testing.js";
import { BufferUpdates } from "./buffer-updates.js";
import { Scope } from "./parameters.js";

test("each change of a buffer starts from the one before", () => {
  const scope = new Scope();
  const count = scope.child("norm").buffer("count", [], Float32Array.of(0), "I64");
  scope.buffer("untouched", [], Float32Array.of(0));
  const updates = new BufferUpdates();
  for (const n of [1, 10]) updates.write(count, add(updates.read(count), n));
  assert.deepEqual([...updates.values.keys()], ["norm.count"]);
  const outputs = graph({ after: updates.values.get("norm.count")! });
  const { after } = evaluate(outputs, { "norm.count": numbers([5], []) });
  assert.deepEqual([...after!.data], [16]);
});
