import assert from "node:assert/strict";
import { cpus } from "node:os";
import { test } from "node:test";
import { place } from "../distributed/index.js";
import { sessionOptions } from "../runtime/options.js";
import { runtimeOf } from "./arguments.js";

const third = place({
  OMPI_COMM_WORLD_RANK: "6",
  OMPI_COMM_WORLD_SIZE: "8",
  OMPI_COMM_WORLD_LOCAL_RANK: "2",
  OMPI_COMM_WORLD_LOCAL_SIZE: "4",
});

test("ranks of a host take a GPU each, by their number on it", () => {
  const gpu = { provider: "cuda" };
  assert.equal(runtimeOf(gpu, third, {}).device, 2);
  assert.equal(runtimeOf(gpu, third, { CUDA_VISIBLE_DEVICES: "4,5,6,7" }).device, 2);
  // Of a launcher that does not say how many there are.
  assert.equal(runtimeOf(gpu, { localRank: 2, localSize: 1 }, {}).device, 2);
  // Of one that lets each see a single one, and where two share one.
  assert.equal(runtimeOf(gpu, third, { CUDA_VISIBLE_DEVICES: "6" }).device, undefined);
  assert.equal(
    runtimeOf(gpu, { localRank: 3, localSize: 4 }, { CUDA_VISIBLE_DEVICES: "0,1" }).device,
    1,
  );
});

test("a GPU's number reaches ONNX Runtime, and the processor has none", () => {
  assert.equal("device" in runtimeOf({}, third, {}), false);
  assert.deepEqual(sessionOptions({ provider: "cpu", device: 2 }).executionProviders, [
    { name: "cpu", deviceId: 2 },
  ]);
  assert.deepEqual(sessionOptions({ provider: "cpu" }).executionProviders, ["cpu"]);
});

test("ranks of a host share its processors, unless they are told otherwise", () => {
  const all = cpus().length;
  assert.equal(runtimeOf({}, { localRank: 0, localSize: 1 }, {}).threads, undefined);
  assert.equal(runtimeOf({}, { localRank: 1, localSize: all }, {}).threads, 1);
  assert.equal(runtimeOf({}, { localRank: 1, localSize: 2 * all }, {}).threads, 1);
  assert.equal(runtimeOf({ threads: 1 }, { localRank: 0, localSize: 1 }, {}).threads, 1);
});
