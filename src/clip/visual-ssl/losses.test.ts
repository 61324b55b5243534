import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, graph, input, type Value } from "../../graph/index.js";
import {
  assertClose,
  assertGradients,
  assertRuns,
  floats,
  inputsOf,
  numbers,
  type Values,
} from "../../graph/testing.js";
import { cosineDistance, ntXent } from "./losses.js";

const rowsOf = ({ shape, data }: Value) =>
  Array.from({ length: shape[0]! }, (_, i) => [...data.slice(i * shape[1]!, (i + 1) * shape[1]!)]);
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * b[i]!, 0);

/** NT-Xent as the paper writes it: exponentials of single similarities. */
function plainNtXent({ a, b }: Record<"a" | "b", Value>, temperature: number): number {
  const rows = [...rowsOf(a), ...rowsOf(b)];
  const half = rows.length / 2;
  const losses = rows.map((row, i) => {
    const exps = rows.map((other) => Math.exp(dot(row, other) / temperature));
    const others = exps.reduce((sum, e, k) => (k === i ? sum : sum + e), 0);
    return -Math.log(exps[(i + half) % rows.length]! / others);
  });
  return losses.reduce((x, y) => x + y, 0) / losses.length;
}

test("NT-Xent tells each row's partner from all others but itself", async () => {
  const values = { a: floats([4, 3], -1, 1, "a"), b: floats([4, 3], -1, 1, "b") };
  for (const temperature of [0.1, 1]) {
    const { a, b } = inputsOf(values);
    const outputs = graph({ loss: ntXent(a!, b!, temperature) });
    await assertRuns(outputs, values, 1e-5, "NT-Xent");
    const expected = plainNtXent(values, temperature);
    assertClose(evaluate(outputs, values).loss!.data, [expected], 1e-6, `over ${temperature}`);
  }
  assertGradients(({ a, b }) => ntXent(a!, b!, 0.5), values);
});

test("NT-Xent of a single picture, which has no others, is zero; of long rows it is finite", async () => {
  const loss = async (values: Values) => {
    const { a, b } = inputsOf(values);
    const outputs = graph({ loss: ntXent(a!, b!, 0.1) });
    await assertRuns(outputs, values, 1e-6, "NT-Xent");
    return evaluate(outputs, values).loss!.data[0]!;
  };
  assert.equal(await loss({ a: numbers([1, 2], [1, 2]), b: numbers([3, -1], [1, 2]) }), 0);
  // Every row is nearest to its partner's opposite: all similarities to others are 0, to partners -1e5.
  const long = { a: numbers([100, 0, 0, 100], [2, 2]), b: numbers([-100, 0, 0, -100], [2, 2]) };
  assertClose([await loss(long)], [1e5 + Math.log(2)], 1e-6, "long rows");
});

test("NT-Xent refuses rows without partners", () => {
  assert.throws(() => ntXent(input("a", [4, 3]), input("b", [3, 3]), 1), {
    message: "NT-Xent needs as many rows of either view, and a fixed number: got [4, 3] and [3, 3]",
  });
});

test("cosine distance is 2 - 2 cos, of any lengths", async () => {
  const values = {
    p: numbers([1, 0, 3, 4, -2, 0], [3, 2]),
    t: numbers([5, 0, 4, 3, 1, 0], [3, 2]),
  };
  const { p, t } = inputsOf(values);
  const outputs = graph({ loss: cosineDistance(p!, t!) });
  await assertRuns(outputs, values, 1e-6, "cosine distance");
  const expected = (0 + (2 - 2 * 0.96) + 4) / 3;
  assertClose(evaluate(outputs, values).loss!.data, [expected], 1e-6, "cosine distance");
  assertGradients(({ p, t }) => cosineDistance(p!, t!), {
    p: floats([3, 4]),
    t: floats([3, 4], 1, 2),
  });
});
