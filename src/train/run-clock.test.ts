import assert from "node:assert/strict";
import { test } from "node:test";
import { RunClock } from "./run-clock.js";

/** A run's clock, and how to take steps of so many seconds. */
function clockAt(secondsBefore = 0) {
  const time = { ms: 5000 };
  const clock = new RunClock(secondsBefore, () => time.ms);
  const pass = (seconds: number) => {
    time.ms += 1000 * seconds;
  };
  const steps = (count: number, seconds: number) => {
    for (let i = 0; i < count; i++) {
      pass(seconds);
      assert.equal(clock.step(), seconds);
    }
  };
  return { clock, pass, steps };
}

test("time counts from the start of the process and of the run", () => {
  const { clock, steps } = clockAt(100);
  steps(2, 3);
  assert.equal(clock.secondsTaken, 6);
  assert.equal(clock.secondsSpent, 106);
});

test("minutes become steps after eight of them and a fifth of the time", () => {
  const few = clockAt();
  few.steps(7, 3);
  assert.equal(few.clock.totalSteps(7, 1), undefined);
  few.steps(1, 3);
  assert.equal(few.clock.totalSteps(8, 1), 20);

  const early = clockAt();
  early.steps(11, 1);
  assert.equal(early.clock.totalSteps(11, 1), undefined);
  early.steps(1, 1);
  assert.equal(early.clock.totalSteps(12, 1), 60);
});

test("the last eight steps tell, by their median", () => {
  const { clock, steps } = clockAt();
  steps(5, 4);
  steps(7, 1);
  steps(1, 13);
  // 20 of 60 seconds are left, for steps of one.
  assert.equal(clock.totalSteps(13, 1), 33);
});

test("a resumed run has the rest of its minutes, and none if they are over", () => {
  const { clock, steps } = clockAt(40);
  steps(8, 1);
  assert.equal(clock.totalSteps(108, 1), 120);
  steps(13, 1);
  assert.equal(clock.totalSteps(121, 1), 121);
});

test("a pause is no training, and no part of the step after it", () => {
  const { clock, pass, steps } = clockAt();
  steps(7, 2);
  pass(30);
  clock.pause(30_000);
  steps(1, 2);
  assert.equal(clock.secondsSpent, 16);
  assert.equal(clock.totalSteps(8, 1), 30);
});
