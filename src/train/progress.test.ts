import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { Progress } from "./progress.js";

/** A stream that remembers, and a clock set by hand. */
function setup(isTTY: boolean) {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 100 });
  const clock = { time: 5_000 };
  const output = () => (stream.read() as Buffer | null)?.toString() ?? "";
  const machine = { now: () => clock.time, memory: () => 1.25e9 };
  return { stream, clock, output, machine };
}

test("without a terminal: plain lines with loss, speed and time left, now and then", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: 1000, stream, ...machine });
  for (let step = 1; step <= 300; step++) {
    clock.time += 100;
    progress.update({ step, loss: 4 - step / 100, samples: 32 });
  }
  assert.deepEqual(output().split("\n"), [
    "step 1/1000, loss 3.9900, 320 samples/s, 1 min 40 s left, 1.3 GB",
    "step 101/1000, loss 2.9900, 320 samples/s, 1 min 30 s left, 1.3 GB",
    "step 201/1000, loss 1.9900, 320 samples/s, 1 min 20 s left, 1.3 GB",
    "",
  ]);
  progress.message("accuracy 0.5");
  progress.stop();
  assert.equal(
    output(),
    "accuracy 0.5\nstep 300/1000, loss 1.0000, 320 samples/s, 1 min 10 s left, 1.3 GB\n",
  );
});

test("the last line is not written twice", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: 1, stream, ...machine });
  clock.time += 2_000;
  progress.update({ step: 1, loss: 1, samples: 5 });
  progress.stop();
  assert.equal(output(), "step 1/1, loss 1.0000, 2.50 samples/s, 1.3 GB\n");
});

test("time spent on something else than steps is not counted", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: 4, stream, ...machine });
  clock.time += 1_000;
  progress.update({ step: 1, loss: 1, samples: 8 });
  clock.time += 60_000;
  progress.pause(60_000);
  clock.time += 1_000;
  progress.update({ step: 2, loss: 1, samples: 8 });
  assert.match(output(), /\nstep 2\/4, loss 1\.0000, 8\.00 samples\/s, 2 s left/);
});

test("a resumed run's speed counts its own steps only", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: 20_000, startStep: 10_000, stream, ...machine });
  clock.time += 1_000;
  progress.update({ step: 10_001, loss: 1, samples: 8 });
  assert.equal(
    output(),
    "step 10001/20000, loss 1.0000, 8.00 samples/s, 2 h 46 min left, 1.3 GB\n",
  );
});

test("no total and no time left are shown before the number of steps is known", () => {
  for (const isTTY of [false, true]) {
    const { stream, clock, output, machine } = setup(isTTY);
    const progress = new Progress({ totalSteps: undefined, stream, ...machine });
    clock.time += 1_000;
    progress.update({ step: 1, loss: 1, samples: 8 });
    progress.message("news");
    assert.match(output(), /step 1, loss 1\.0000, 8\.00 samples\/s, 1\.3 GB\b(?!, )/);
    progress.totalSteps = 10;
    clock.time += 10_000;
    progress.update({ step: 2, loss: 1, samples: 8 });
    progress.stop();
    assert.match(output(), /step 2\/10, loss 1\.0000, 1\.45 samples\/s, 44 s left/);
  }
});

test("a run by minutes has the time left that it is told, whatever its speed", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: undefined, stream, ...machine });
  clock.time += 1_000;
  progress.update({ step: 1, loss: 1, samples: 8, secondsLeft: 299 });
  assert.match(output(), /^step 1, loss 1\.0000, 8\.00 samples\/s, 4 min 59 s left, 1\.3 GB\n$/);
  progress.totalSteps = 40;
  clock.time += 10_000;
  progress.update({ step: 2, loss: 1, samples: 8, secondsLeft: 289 });
  assert.match(output(), /^step 2\/40, .*, 4 min 49 s left/);
  progress.totalSteps = 3;
  clock.time += 10_000;
  progress.update({ step: 3, loss: 1, samples: 8, secondsLeft: 0 });
  assert.match(output(), /^step 3\/3, loss 1\.0000, [\d.]+ samples\/s, 1\.3 GB\n$/);
});

test("the share of waiting for data is that of the last half minute, resumed or not", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: 100, startStep: 40, stream, ...machine });
  for (let step = 41; step <= 60; step++) {
    clock.time += 5_000;
    progress.update({ step, loss: 1, samples: 10, dataWaitSeconds: step <= 50 ? 5 : 1.25 });
  }
  const lines = output().split("\n");
  assert.equal(
    lines[0],
    "step 41/100, loss 1.0000, 2.00 samples/s, 4 min 55 s left, 100 % waiting for data, 1.3 GB",
  );
  progress.stop();
  assert.match(`${lines.join()}${output()}`, /step 60\/100.*, 25 % waiting for data, 1\.3 GB/);
});

test("the speed is that of the last half minute", () => {
  const { stream, clock, output, machine } = setup(false);
  const progress = new Progress({ totalSteps: 100, stream, ...machine });
  for (let step = 1; step <= 10; step++) {
    clock.time += step <= 5 ? 60_000 : 10_000;
    progress.update({ step, loss: 1, samples: 10 });
  }
  assert.match(
    output(),
    /step 10\/100, loss 1\.0000, 1\.00 samples\/s, 15 min 0 s left, 1\.3 GB\n$/,
  );
});

test("on a terminal: a bar, with messages on lines of their own", () => {
  const { stream, clock, output, machine } = setup(true);
  const progress = new Progress({ totalSteps: 4, startStep: 2, stream, ...machine });
  assert.match(output(), /█{12}░{12} step 2\/4/);
  clock.time += 1_000;
  progress.update({ step: 3, loss: 0.25, samples: 64 });
  progress.message("checkpoint saved");
  const text = output();
  assert.match(text, /checkpoint saved\n/);
  assert.match(text, /█{18}░{6} step 3\/4, loss 0\.2500, 64\.0 samples\/s, 1 s left/);
  clock.time += 1_000;
  progress.update({ step: 4, loss: 0.125, samples: 64 });
  progress.stop();
  assert.match(output(), /step 4\/4, loss 0\.1250, 64\.0 samples\/s, 1\.3 GB\n$/);
});
