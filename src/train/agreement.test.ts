import assert from "node:assert/strict";
import { test } from "node:test";
import { type Communicator, solo } from "../distributed/index.js";
import { Agreement, type RunView } from "./agreement.js";

/** Two ranks in one process, which sum what both give. */
function twoRanks(): [Agreement, Agreement] {
  let given: Float64Array | undefined;
  let done: () => void = () => {};
  const allReduce: Communicator["allReduce"] = async (values) => {
    if (given === undefined) {
      given = values as Float64Array;
      await new Promise<void>((resolve) => {
        done = resolve;
      });
      return;
    }
    for (const [i, value] of given.entries()) values[i]! += value;
    given.set(values);
    given = undefined;
    done();
  };
  const rank = (rank: number) => new Agreement({ ...solo(), rank, size: 2, allReduce });
  return [rank(0), rank(1)];
}

const before: RunView = {
  isStopped: false,
  isLast: false,
  totalSteps: undefined,
  decayed: undefined,
};

for (const [what, first, second, expected] of [
  ["nothing is known", {}, {}, {}],
  ["any rank may be told to stop", {}, { isStopped: true }, { isStopped: true }],
  [
    "the first plans by its clock",
    { totalSteps: 700, decayed: 0.1 + 0.2 },
    { totalSteps: 650, decayed: 0.25 },
    { totalSteps: 700, decayed: 0.1 + 0.2 },
  ],
  [
    "a plan of nothing so far",
    { decayed: 0 },
    { decayed: 0 },
    { totalSteps: undefined, decayed: 0 },
  ],
  [
    "steps that are settled",
    { totalSteps: 12, isLast: true },
    { totalSteps: 12 },
    { totalSteps: 12, isLast: true },
  ],
] as const satisfies readonly (readonly [string, ...Partial<RunView>[]])[]) {
  test(`ranks agree: ${what}`, async () => {
    const [a, b] = twoRanks();
    const views = await Promise.all([
      a.view({ ...before, ...first }),
      b.view({ ...before, ...second }),
    ]);
    for (const view of views) assert.deepEqual(view, { ...before, ...expected });
  });
}
