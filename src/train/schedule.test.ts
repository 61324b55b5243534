import assert from "node:assert/strict";
import { test } from "node:test";
import { decayedLearningRateAt, learningRateAt } from "./schedule.js";

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-12, `${actual}, expected ${expected}`);
const of = (options: Parameters<typeof learningRateAt>[1]) => (step: number) =>
  learningRateAt(step, options);

test("the warm-up is linear, the decay half a cosine down to the floor", () => {
  const at = of({ learningRate: 1, warmupSteps: 10, totalSteps: 110, floor: 0.2 });
  near(at(0), 0.1);
  near(at(4), 0.5);
  near(at(9), 1);
  near(at(10), 1);
  near(at(35), 0.6 + 0.4 * Math.SQRT1_2);
  near(at(60), 0.6);
  near(at(110), 0.2);
  near(at(1000), 0.2);
});

test("a linear decay is a straight line down to the floor", () => {
  const options = { learningRate: 1, warmupSteps: 10, totalSteps: 110, floor: 0.2 };
  const at = of({ ...options, schedule: "linear" });
  for (const [step, rate] of [
    [4, 0.5],
    [10, 1],
    [35, 0.8],
    [60, 0.6],
    [110, 0.2],
    [1000, 0.2],
  ] as const) {
    near(at(step), rate);
  }
});

test("a constant learning rate is warmed up and stays, whatever the floor", () => {
  const options = { learningRate: 1, warmupSteps: 10, totalSteps: 110, floor: 0.2 };
  const at = of({ ...options, schedule: "constant" });
  near(at(4), 0.5);
  for (const step of [10, 60, 110, 1000]) near(at(step), 1);
});

test("while the end is not known, nothing decays", () => {
  for (const schedule of ["cosine", "linear", "constant"] as const) {
    const totalSteps = Number.POSITIVE_INFINITY;
    near(learningRateAt(500, { schedule, learningRate: 3, warmupSteps: 10, totalSteps }), 3);
  }
});

test("without warm-up it starts at the learning rate and ends at zero", () => {
  const at = of({ learningRate: 3e-4, warmupSteps: 0, totalSteps: 50 });
  near(at(0), 3e-4);
  near(at(25), 1.5e-4);
  near(at(50), 0);
  for (let step = 1; step <= 50; step++) assert.ok(at(step) < at(step - 1));
});

test("a run that is all warm-up never divides by zero", () => {
  const at = of({ learningRate: 1, warmupSteps: 5, totalSteps: 5 });
  near(at(4), 1);
  near(at(5), 1);
  near(at(6), 0);
});

test("a decay by something else than steps follows the same curves", () => {
  const options = { learningRate: 1, warmupSteps: 10, floor: 0.2 };
  for (const schedule of ["cosine", "linear", "constant"] as const) {
    for (const step of [0, 9, 10, 35, 60, 110]) {
      const decayed = Math.max(0, (step - 10) / 100);
      near(
        decayedLearningRateAt(step, decayed, { ...options, schedule }),
        learningRateAt(step, { ...options, schedule, totalSteps: 110 }),
      );
    }
  }
});

test("a decay that begins in the warm-up is one of what that has reached", () => {
  const options = { schedule: "linear", learningRate: 1, warmupSteps: 10 } as const;
  near(decayedLearningRateAt(4, 0, options), 0.5);
  near(decayedLearningRateAt(4, 0.2, options), 0.4);
  near(decayedLearningRateAt(6, 1, options), 0);
});
