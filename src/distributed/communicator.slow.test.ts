import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { solo } from "./solo.js";
import { eachMpi, resultsOf } from "./testing.js";

const upTo = (size: number) => Array.from({ length: size }, (_, i) => i);
const sumUpTo = (size: number) => (size * (size - 1)) / 2;

test("a process alone has the same operations", async () => {
  const { rank, size, allGather, allReduce, broadcast, barrier, close } = solo();
  assert.deepEqual([rank, size], [0, 1]);
  const mine = Int32Array.of(3, 4);
  const { values, counts } = await allGather(mine);
  assert.deepEqual([[...values], counts], [[3, 4], [2]]);
  assert.notEqual(values.buffer, mine.buffer);
  const sum = Float32Array.of(5);
  await Promise.all([allReduce(sum), broadcast(sum, 0), barrier(), close()]);
  assert.deepEqual([...sum], [5]);
});

eachMpi("ranks gather, sum and send", [2, 4], async (mpirun, size) => {
  const results = await resultsOf(mpirun, size, async (communicator) => {
    const { rank, size } = communicator;
    // All types; as many elements as the rank says, so none of rank 0.
    const mine = Array.from({ length: 3 * rank }, (_, i) => 10 * rank + i);
    const gathered = [];
    for (const array of [Float32Array, Float64Array, Int32Array, Uint8Array]) {
      const { values, counts } = await communicator.allGather(array.from(mine));
      gathered.push({ type: values.constructor.name, values: [...values], counts });
    }
    const none = await communicator.allGather(new Float32Array(0));

    const whole = Float32Array.from({ length: 5000 }, (_, i) => i * (rank + 1));
    const doubles = Float64Array.from({ length: 7 }, (_, i) => 2 ** 40 + i + rank);
    // A part of WebAssembly memory, as the optimizer's gradients are.
    const memory = new WebAssembly.Memory({ initial: 20, maximum: 20 });
    const fractions = new Float32Array(memory.buffer, 4096, 250_000);
    for (const i of fractions.keys()) fractions[i] = Math.sin(i * (rank + 1));
    const before = new Float32Array(memory.buffer, 0, 1024).fill(7);
    await Promise.all([whole, doubles, fractions].map((values) => communicator.allReduce(values)));
    const { createHash } = await import("node:crypto");
    const bits = createHash("sha256").update(fractions).digest("hex");
    const untouched = before.every((value) => value === 7);
    const some = [0, 1, 1000, 249_999].map((i) => fractions[i]!);

    const order: number[] = [];
    const queued = Array.from({ length: 60 }, (_, i) => Float32Array.of(i, rank));
    const all: Promise<unknown>[] = [];
    for (const [i, values] of queued.entries()) {
      const done =
        i % 3 ? communicator.allReduce(values) : communicator.broadcast(values, i % size);
      all.push(done.then(() => order.push(i)));
      if (i % 10 === 0) all.push(communicator.barrier());
    }
    await Promise.all(all);
    // V8 learns of a bad address by a signal, which MPI must not have taken over.
    // (module (import "env" "memory" (memory 1 1)) (func (export "load") (result i32)
    //   i32.const 70000 i32.load))
    const code =
      "0061736d010000000105016000017f02100103656e76066d656d6f727902010101" +
      "03020100070801046c6f616400000a0b01090041f0a2042802000b";
    const env = { memory: new WebAssembly.Memory({ initial: 1, maximum: 1 }) };
    const module = new WebAssembly.Module(Buffer.from(code, "hex"));
    const { load } = new WebAssembly.Instance(module, { env }).exports as { load(): number };
    let trap = "";
    try {
      load();
    } catch (error) {
      trap = (error as Error).message;
    }
    return {
      trap,
      ...{ rank, size, gathered, none: [none.values.length, none.counts] },
      ...{ whole: [...whole], doubles: [...doubles], bits, some, untouched },
      ...{ order, queued: queued.map((values) => [...values]) },
    };
  });

  const counts = upTo(size).map((rank) => 3 * rank);
  const values = upTo(size).flatMap((rank) => upTo(3 * rank).map((i) => 10 * rank + i));
  const types = ["Float32Array", "Float64Array", "Int32Array", "Uint8Array"];
  for (const [rank, result] of results.entries()) {
    assert.deepEqual([result.rank, result.size], [rank, size]);
    const expected = types.map((type) => ({ type, values, counts }));
    assert.deepEqual(result.gathered, expected);
    assert.deepEqual(result.none, [0, counts.map(() => 0)]);

    const factor = sumUpTo(size + 1);
    assert.ok(result.whole.every((value, i) => value === i * factor));
    const doubles = upTo(7).map((i) => size * (2 ** 40 + i) + sumUpTo(size));
    assert.deepEqual(result.doubles, doubles);
    assert.equal(result.bits, results[0]!.bits, "all ranks have the same bits");
    assert.ok(result.untouched, "memory beside the values is as it was");
    for (const [k, i] of [0, 1, 1000, 249_999].entries()) {
      const sum = upTo(size).reduce((sum, rank) => sum + Math.sin(i * (rank + 1)), 0);
      assert.ok(Math.abs(result.some[k]! - sum) < 1e-5, `${result.some[k]} at ${i}, not ${sum}`);
    }

    assert.match(result.trap, /out of bounds/);
    assert.deepEqual(result.order, upTo(60));
    const queued = upTo(60).map((i) => (i % 3 ? [i * size, sumUpTo(size)] : [i, i % size]));
    assert.deepEqual(result.queued, queued);
  }
});

eachMpi("operations go on while the program is busy", [2], async (mpirun) => {
  const folder = mkdtempSync(join(tmpdir(), "clipsmith-busy-"));
  try {
    const results = await resultsOf(
      mpirun,
      2,
      async (communicator) => {
        const { existsSync, writeFileSync } = await import("node:fs");
        const sums = Array.from({ length: 30 }, () => new Float32Array(1000).fill(1));
        const all = sums.map((values) => communicator.allReduce(values));
        const file = process.env.DONE_FILE!;
        if (communicator.rank === 0) {
          // This thread does nothing else until the other rank has all its sums.
          const clock = new Int32Array(new SharedArrayBuffer(4));
          for (let i = 0; i < 60_000 && !existsSync(file); i++) Atomics.wait(clock, 0, 0, 10);
        } else {
          await Promise.all(all);
          writeFileSync(file, "");
        }
        const inTime = existsSync(file);
        await Promise.all(all);
        return inTime && sums.every((values) => values.every((value) => value === 2));
      },
      { env: { DONE_FILE: join(folder, "done") } },
    );
    assert.deepEqual(results, [true, true]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

eachMpi("more elements than MPI counts at a time", [2], async (mpirun) => {
  const results = await resultsOf(
    mpirun,
    2,
    async (communicator) => {
      const { rank } = communicator;
      const sum = Float64Array.from({ length: 25 }, (_, i) => i);
      await communicator.allReduce(sum);
      const sent = Int32Array.from({ length: 25 }, (_, i) => i * rank);
      await communicator.broadcast(sent, 1);
      const mine = Float32Array.from({ length: 9 + 8 * rank }, (_, i) => i + 100 * rank);
      const { values, counts } = await communicator.allGather(mine);
      return { sum: [...sum], sent: [...sent], values: [...values], counts };
    },
    { largestCount: 7 },
  );
  for (const { sum, sent, values, counts } of results) {
    const doubled = upTo(25).map((i) => 2 * i);
    assert.deepEqual(sum, doubled);
    assert.deepEqual(sent, upTo(25));
    assert.deepEqual(counts, [9, 17]);
    assert.deepEqual(values, [...upTo(9), ...upTo(17).map((i) => i + 100)]);
  }
});
