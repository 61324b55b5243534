import assert from "node:assert/strict";
import { test } from "node:test";
import { RunClock } from "./run-clock.js";

/** The clock of a run of so many seconds, and how to take steps of so many. */
function clockOf(secondsAsked: number, secondsBefore = 0) {
  const time = { ms: 5000 };
  const clock = new RunClock(secondsAsked, secondsBefore, () => time.ms);
  const pass = (seconds: number) => {
    time.ms += 1000 * seconds;
  };
  const steps = (count: number, seconds: number) => {
    for (let i = 0; i < count; i++) {
      pass(seconds);
      assert.deepEqual(clock.step(), { seconds, sleptSeconds: 0 });
    }
  };
  return { clock, pass, steps };
}

test("time counts from the start of the process and of the run", () => {
  const { clock, pass, steps } = clockOf(120, 100);
  pass(50);
  clock.begin();
  steps(2, 3);
  assert.equal(clock.secondsTaken, 6);
  assert.equal(clock.secondsSpent, 106);
  assert.equal(clock.secondsLeft, 14);
});

test("the speed is known after eight steps beside the first, or a tenth of the time", () => {
  const fast = clockOf(60);
  fast.steps(1, 5);
  fast.steps(7, 0.25);
  assert.equal(fast.clock.stepsLeft(), undefined);
  fast.steps(1, 0.25);
  assert.equal(fast.clock.stepsLeft(), (60 - 7) / 0.25);

  const slow = clockOf(60);
  slow.steps(1, 10);
  assert.equal(slow.clock.stepsLeft(), undefined, "the first step tells nothing");
  slow.steps(1, 10);
  assert.equal(slow.clock.stepsLeft(), 4);
});

test("the speed follows that of the last tenth of the time", () => {
  const { clock, steps } = clockOf(1000);
  steps(200, 1);
  assert.ok(Math.abs(clock.secondsAStep - 1) < 1e-9);
  steps(50, 2);
  assert.ok(clock.secondsAStep > 1.4 && clock.secondsAStep < 1.7, `${clock.secondsAStep}`);
  steps(100, 2);
  assert.ok(clock.secondsAStep > 1.9 && clock.secondsAStep < 2, `${clock.secondsAStep}`);
});

for (const [what, seconds, left] of [
  ["takes all of the time", 60, 0],
  ["takes far more than the time", 6000, 0],
  ["leaves no time for another", 50, 0],
  ["leaves time for another", 35, undefined],
] as const) {
  test(`a first step that ${what}`, () => {
    const { clock, steps } = clockOf(60);
    steps(1, seconds);
    assert.equal(clock.stepsLeft(), left);
  });
}

test("a resumed run has the rest of its time, and none if it is over", () => {
  const { clock, steps } = clockOf(60, 40);
  steps(9, 1);
  assert.equal(clock.stepsLeft(), 11);
  steps(13, 1);
  assert.equal(clock.stepsLeft(), 0);
  assert.equal(clock.secondsLeft, -2);
});

test("time aside counts for the run, not for its speed, and is expected again", () => {
  const { clock, pass, steps } = clockOf(100);
  steps(10, 2);
  pass(20);
  clock.aside(20_000);
  assert.equal(clock.secondsSpent, 40);
  assert.equal(clock.secondsTaken, 20);
  assert.equal(clock.secondsAStep, 2);
  // Half of the 60 seconds left goes by aside, as half of those before did.
  assert.equal(clock.stepsLeft(), 15);
  steps(1, 2);
});

test("a step that was held up, as by a checkpoint, does not change the speed by much", () => {
  const { clock, steps } = clockOf(100);
  steps(20, 1);
  steps(1, 13);
  assert.ok(clock.secondsAStep < 1.3, `${clock.secondsAStep}`);
  assert.equal(clock.secondsSpent, 33);
});

test("what is to come after the last step is kept for it", () => {
  const { clock, steps } = clockOf(60);
  steps(30, 1);
  assert.equal(clock.stepsLeft(10), 20);
  assert.equal(clock.stepsLeft(40), 0);
});

test("a machine that slept for hours goes on where it was", () => {
  const { clock, pass, steps } = clockOf(600);
  steps(100, 1);
  pass(7200);
  assert.deepEqual(clock.step(), { seconds: 1, sleptSeconds: 7199 });
  assert.equal(clock.secondsSpent, 101);
  assert.equal(clock.stepsLeft(), 499);
});

for (const [what, usual, seconds] of [
  ["under a minute", 0.01, 55],
  ["under a hundred usual steps", 20, 1500],
] as const) {
  test(`what takes ${what} is no sleep`, () => {
    const { clock, pass, steps } = clockOf(60_000);
    steps(20, usual);
    pass(seconds);
    assert.equal(clock.step().sleptSeconds, 0);
  });
}
