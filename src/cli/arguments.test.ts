import assert from "node:assert/strict";
import { cpus } from "node:os";
import { test } from "node:test";
import { sessionOptions } from "../runtime/options.js";
import { deviceOf, runtimeOf } from "./arguments.js";

test("ranks of a host take a GPU each, and share them where there are fewer", async () => {
  const devices = (ranks: number, gpus: number) =>
    Promise.all(
      Array.from({ length: ranks }, (_, rank) => deviceOf(rank, async (device) => device < gpus)),
    );
  assert.deepEqual(await devices(4, 4), [0, 1, 2, 3]);
  assert.deepEqual(await devices(2, 8), [0, 1]);
  assert.deepEqual(await devices(5, 2), [0, 1, 0, 1, 0]);
  assert.deepEqual(await devices(3, 1), [0, 0, 0]);
  // Without any, the first is asked for: the error says why it does not work.
  assert.deepEqual(await devices(3, 0), [0, 0, 0]);
});

test("a GPU's number reaches ONNX Runtime, and the first needs none", () => {
  assert.deepEqual(sessionOptions({ provider: "cpu", device: 2 }).executionProviders, [
    { name: "cpu", deviceId: 2 },
  ]);
  assert.deepEqual(sessionOptions({ provider: "cpu" }).executionProviders, ["cpu"]);
});

test("ranks of a host share its processors, unless they are told otherwise", () => {
  const all = cpus().length;
  assert.equal(runtimeOf({}, 1).threads, undefined);
  assert.equal(runtimeOf({}, all).threads, 1);
  assert.equal(runtimeOf({}, 2 * all).threads, 1);
  assert.equal(runtimeOf({ threads: 1 }, 1).threads, 1);
});
