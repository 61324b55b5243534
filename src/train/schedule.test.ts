import assert from "node:assert/strict";
import { test } from "node:test";
import { warmupCosine } from "./schedule.js";

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-12, `${actual}, expected ${expected}`);

test("the warm-up is linear, the decay half a cosine down to the floor", () => {
  const at = warmupCosine({ learningRate: 1, warmupSteps: 10, totalSteps: 110, floor: 0.2 });
  near(at(0), 0.1);
  near(at(4), 0.5);
  near(at(9), 1);
  near(at(10), 1);
  near(at(35), 0.6 + 0.4 * Math.SQRT1_2);
  near(at(60), 0.6);
  near(at(110), 0.2);
  near(at(1000), 0.2);
});

test("without warm-up it starts at the learning rate and ends at zero", () => {
  const at = warmupCosine({ learningRate: 3e-4, warmupSteps: 0, totalSteps: 50 });
  near(at(0), 3e-4);
  near(at(25), 1.5e-4);
  near(at(50), 0);
  for (let step = 1; step <= 50; step++) assert.ok(at(step) < at(step - 1));
});

test("a run that is all warm-up never divides by zero", () => {
  const at = warmupCosine({ learningRate: 1, warmupSteps: 5, totalSteps: 5 });
  near(at(4), 1);
  near(at(5), 1);
  near(at(6), 0);
});
