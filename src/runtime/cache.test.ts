import assert from "node:assert/strict";
import { test } from "node:test";
import { type Graph, graph, input, mul, where } from "../graph/index.js";
import { ProgramCache } from "./index.js";

const feeds = { x: Float32Array.of(3) };
const times = (factor: number): Graph => graph({ y: mul(input("x", [1]), factor) });
/** ONNX Runtime has no kernel for it. */
const impossible = (): Graph => {
  const flag = input("x", [1], "bool");
  return graph({ y: where(flag, flag, flag) });
};
const released = { message: "run: the program has been released" };

test("a key is compiled once, also when asked for at the same time", async () => {
  const cache = new ProgramCache({ threads: 1 });
  let built = 0;
  const build = () => {
    built++;
    return times(2);
  };
  const [a, b] = await Promise.all([cache.get("k", build), cache.get("k", build)]);
  assert.equal(a, b);
  assert.equal(await cache.get("k", build), a);
  assert.equal(built, 1);
  assert.deepEqual([...(await a.run(feeds)).y!], [6]);
  await cache.release();
});

test("the least recently used program makes room and is released", async () => {
  const cache = new ProgramCache({ threads: 1 }, 2);
  const get = (key: number) => cache.get(`${key}`, () => times(key));
  const first = await get(1);
  const second = await get(2);
  await get(1);
  const third = await get(3);
  await assert.rejects(second.run(feeds), released);
  assert.equal(await get(1), first);
  assert.deepEqual([...(await first.run(feeds)).y!], [3]);
  assert.deepEqual([...(await third.run(feeds)).y!], [9]);
  const again = await get(2);
  assert.notEqual(again, second);
  assert.deepEqual([...(await again.run(feeds)).y!], [6]);
  await cache.release();
});

test("releasing the cache releases its programs", async () => {
  const cache = new ProgramCache({ threads: 1 });
  const program = await cache.get("k", () => times(2));
  await cache.release();
  await assert.rejects(program.run(feeds), released);
  assert.notEqual(await cache.get("k", () => times(2)), program);
  await cache.release();
});

test("what fails to compile is not kept", async () => {
  const cache = new ProgramCache({ threads: 1 });
  await assert.rejects(cache.get("k", impossible), /Where/);
  await assert.rejects(
    cache.get("k", () => {
      throw new Error("no such shape");
    }),
    { message: "no such shape" },
  );
  const program = await cache.get("k", () => times(2));
  assert.deepEqual([...(await program.run(feeds)).y!], [6]);
  await cache.release();
});

test("a failure leaves a later attempt under its key alone", async () => {
  const cache = new ProgramCache({ threads: 1 }, 1);
  const failing = cache.get("k", impossible);
  const other = cache.get("other", () => times(3));
  const good = cache.get("k", () => times(2));
  await assert.rejects(failing, /Where/);
  await other;
  assert.equal(await cache.get("k", () => times(5)), await good);
  await cache.release();
});

test("a failure reaches only those who asked for it", async () => {
  const cache = new ProgramCache({ threads: 1 }, 1);
  const failing = cache.get("bad", impossible);
  // It is pushed out of the cache before it has failed.
  const good = cache.get("good", () => times(2));
  await assert.rejects(failing, /Where/);
  assert.deepEqual([...(await (await good).run(feeds)).y!], [6]);

  const late = cache.get("bad", impossible);
  const cleared = cache.release();
  await assert.rejects(late, /Where/);
  await cleared;
});
