import assert from "node:assert/strict";
import { test } from "node:test";
import { type Best, bestOf, type ValidationMetric } from "./early-stop.js";
import { isOver } from "./run-validation.js";

function bestAfter(metric: ValidationMetric, values: readonly number[]): Best | undefined {
  let best: Best | undefined;
  for (const [i, value] of values.entries()) best = bestOf(metric, best, { step: i + 1, value });
  return best;
}

test("the best is the lowest loss or the highest recall, the first of equals", () => {
  const values = [3, 2, 4, 2, 2.5];
  assert.deepEqual(bestAfter("loss", values), { step: 2, value: 2, validationsSince: 3 });
  assert.deepEqual(bestAfter("imageToText.r5", values), { step: 3, value: 4, validationsSince: 2 });
  assert.deepEqual(bestAfter("loss", [1, Number.NaN]), { step: 1, value: 1, validationsSince: 1 });
});

test("a run is over when its patience is", () => {
  const earlyStop = { metric: "loss", patience: 2 } as const;
  assert.ok(!isOver({ earlyStop }, undefined));
  assert.ok(!isOver({ earlyStop }, bestAfter("loss", [1, 2])));
  assert.ok(isOver({ earlyStop }, bestAfter("loss", [1, 2, 3])));
  assert.ok(!isOver({ earlyStop: undefined }, bestAfter("loss", [1, 2, 3])));
});
