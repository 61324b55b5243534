import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cast,
  expand,
  graph,
  input,
  matmul,
  mul,
  reshape,
  sum,
  topK,
} from "../graph/index.js";
import { ClipsmithError } from "../util/errors.js";
import { type Feeds, Program, type RuntimeOptions } from "./index.js";

const x = input("x", ["batch", 2]);
const w = input("w", [2, 3]);
const product = graph({ y: matmul(x, w), twice: mul(x, 2) });
const weights = Float32Array.of(1, 0, 1, 0, 1, 1);

/** Compiles, hands the program out, and releases it. */
async function using(g: typeof product, f: (program: Program) => Promise<void>) {
  const program = await Program.compile(g, { threads: 1 });
  try {
    await f(program);
  } finally {
    await program.release();
  }
}

test("one program runs batches of every size", async () => {
  await using(product, async (program) => {
    for (const batch of [1, 4, 2]) {
      const feed = Float32Array.from({ length: 2 * batch }, (_, i) => i);
      const { y, twice } = await program.run({ x: feed, w: weights });
      const expected = Array.from({ length: batch }, (_, i) => [2 * i, 2 * i + 1, 4 * i + 1]);
      assert.deepEqual([...y!], expected.flat());
      assert.deepEqual(
        [...twice!],
        [...feed].map((v) => 2 * v),
      );
    }
  });
});

test("outputs are written into the arrays given for them", async () => {
  await using(product, async (program) => {
    const memory = new Float32Array(10).fill(-1);
    const y = memory.subarray(2, 8);
    const results = await program.run({ x: Float32Array.of(1, 2, 3, 4), w: weights }, { y });
    assert.deepEqual([...memory], [-1, -1, 1, 2, 3, 3, 4, 7, -1, -1]);
    assert.deepEqual([...results.y!], [1, 2, 3, 3, 4, 7]);
    assert.deepEqual([...results.twice!], [2, 4, 6, 8]);
  });
});

test("inputs may be views of larger arrays", async () => {
  await using(product, async (program) => {
    const memory = Float32Array.of(9, 9, 1, 2, 9, ...weights, 9);
    const { y } = await program.run({ x: memory.subarray(2, 4), w: memory.subarray(5, 11) });
    assert.deepEqual([...y!], [1, 2, 3]);
  });
});

test("every element type goes in and comes out", async () => {
  const n = input("n", [2], "int64");
  const flags = input("flags", [3], "bool");
  const bytes = input("bytes", [2], "uint8");
  const wide = input("wide", [2], "float64");
  const { indices } = topK(input("x", [3]), 1);
  const g = graph({
    sum: add(n, 1),
    flag: cast(flags, "int32"),
    float: cast(bytes, "float32"),
    double: mul(wide, 0.1),
    indices,
    truth: cast(wide, "bool"),
  });
  await using(g, async (program) => {
    const results = await program.run({
      n: BigInt64Array.of(-1n, 2n ** 40n),
      flags: Uint8Array.of(1, 0, 1),
      bytes: Uint8Array.of(0, 255),
      wide: Float64Array.of(0, 3),
      x: Float32Array.of(1, 5, 3),
    });
    assert.deepEqual(results, {
      sum: BigInt64Array.of(0n, 2n ** 40n + 1n),
      flag: Int32Array.of(1, 0, 1),
      float: Float32Array.of(0, 255),
      double: Float64Array.of(0, 3 * 0.1),
      indices: BigInt64Array.of(1n),
      truth: Uint8Array.of(0, 1),
    });
  });
});

test("inputs and arrays for outputs that do not fit are named", async () => {
  await using(product, async (program) => {
    const good: Feeds = { x: Float32Array.of(1, 2), w: weights };
    const fails = (message: string, feeds: Feeds, into: Feeds = {}) =>
      assert.rejects(program.run(feeds, into), { message });
    await fails('run: input "x" is missing', { w: weights });
    await fails('run: input "w" must be float32, is a Float64Array', {
      ...good,
      w: new Float64Array(6),
    });
    await fails('run: input "w" must be [2, 3], has 5 elements', {
      ...good,
      w: new Float32Array(5),
    });
    await fails('run: input "x" must be [batch, 2], has 3 elements', {
      ...good,
      x: new Float32Array(3),
    });
    await fails('run: output "y" must be [batch, 3], where batch is 1, has 6 elements', good, {
      y: new Float32Array(6),
    });
    await fails('run: output "y" must be float32, is a Int32Array', good, { y: new Int32Array(3) });
    await fails('run: there is no output "z", only y, twice', good, { z: new Float32Array(3) });
  });
});

test("inputs that name one size must agree on it", async () => {
  const g = graph({ y: add(x, input("z", ["batch", 1])) });
  await using(g, async (program) => {
    await assert.rejects(program.run({ x: new Float32Array(4), z: new Float32Array(3) }), {
      message: 'run: input "z" must be [batch, 1], where batch is 2, has 3 elements',
    });
  });
});

test("sizes that are products of a named one follow from it", async () => {
  const g = graph({ rows: reshape(input("x", ["batch", 4]), ["2*batch", 2]) });
  await using(g, async (program) => {
    const rows = new Float32Array(8);
    await program.run({ x: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) }, { rows });
    assert.deepEqual([...rows], [1, 2, 3, 4, 5, 6, 7, 8]);
  });
});

test("an error while running keeps its cause", async () => {
  const table = input("table", [2, 3]);
  const { gather } = await import("../graph/index.js");
  await using(graph({ y: gather(table, input("i", [1], "int32")) }), async (program) => {
    await assert.rejects(
      program.run({ table: weights, i: Int32Array.of(7) }),
      (error: Error) =>
        /^ONNX Runtime could not run the graph: .*indices/.test(error.message) &&
        error.cause instanceof Error,
    );
  });
});

test("options that cannot be met are refused with a hint", async () => {
  const fails = (options: RuntimeOptions, message: RegExp) =>
    assert.rejects(
      Program.compile(product, options),
      (error: Error) => error instanceof ClipsmithError && message.test(error.message),
    );
  await fails({ provider: "abacus" }, /no provider "abacus" on this machine; it has cpu/);
  for (const threads of [0, -1, 1.5, Number.NaN]) {
    await fails({ threads }, /^threads must be a whole number of at least 1, is /);
  }
});

test("a released program says so", async () => {
  const program = await Program.compile(product, { threads: 1 });
  await program.release();
  await assert.rejects(program.run({ x: Float32Array.of(1, 2), w: weights }), {
    message: "run: the program has been released",
  });
  await program.release();
});

test("memory does not grow by running again", async () => {
  const side = 2000;
  const wide = mul(expand(input("x", [side, 1]), [side, side]), 2);
  const cube = mul(mul(wide, wide), wide);
  const total = graph({ y: sum(add(cube, mul(wide, wide)), [0, 1]) });
  for (const memoryArena of [false, true]) {
    const program = await Program.compile(total, { threads: 1, memoryArena });
    const runs = async (count: number) => {
      for (let i = 0; i < count; i++) await program.run({ x: new Float32Array(side) });
      return process.memoryUsage.rss() / 2 ** 20;
    };
    const few = await runs(4);
    const many = await runs(40);
    await program.release();
    assert.ok(many < few + 50, `${few} MB grew to ${many} MB`);
  }
});
