import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { EmbeddingProgress, type EmbeddingProgressOptions } from "./embedding-progress.js";

/** Progress on a stream that remembers, by a clock set by hand. */
function setup(isTTY: boolean, options: EmbeddingProgressOptions) {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 100 });
  const clock = { time: 5_000 };
  const progress = new EmbeddingProgress({ ...options, stream, now: () => clock.time });
  const output = () => (stream.read() as Buffer | null)?.toString() ?? "";
  return { progress, clock, output };
}

test("where the number of pictures is known: speed, time left and waiting, of the last half minute", () => {
  const { progress, clock, output } = setup(false, { total: 10_000, done: 2000 });
  for (let i = 1; i <= 60; i++) {
    clock.time += 1000;
    progress.update(2000 + 50 * i, 0, i <= 30 ? 0.5 : 0.25);
  }
  progress.stop();
  assert.deepEqual(output().split("\n"), [
    "2,050/10,000 pictures, 50.0 pictures/s, 2 min 39 s left, 50 % waiting for data",
    "2,550/10,000 pictures, 50.0 pictures/s, 2 min 29 s left, 50 % waiting for data",
    "3,050/10,000 pictures, 50.0 pictures/s, 2 min 19 s left, 50 % waiting for data",
    "3,550/10,000 pictures, 50.0 pictures/s, 2 min 9 s left, 49 % waiting for data",
    "4,050/10,000 pictures, 50.0 pictures/s, 1 min 59 s left, 41 % waiting for data",
    "4,550/10,000 pictures, 50.0 pictures/s, 1 min 49 s left, 33 % waiting for data",
    "5,000/10,000 pictures, 50.0 pictures/s, 1 min 40 s left, 25 % waiting for data",
    "",
  ]);
});

test("where it is not: the shard", () => {
  const { progress, clock, output } = setup(false, { total: undefined, shards: 3 });
  clock.time += 500;
  progress.update(64, 1);
  progress.message("Skipped a.png: no caption");
  clock.time += 500;
  progress.update(100, 3);
  progress.stop();
  assert.equal(
    output(),
    "64 pictures, shard 2/3, 128 pictures/s\nSkipped a.png: no caption\n" +
      "100 pictures, shard 3/3, 100 pictures/s\n",
  );
});

test("on a terminal: a bar of pictures, or of shards", () => {
  const known = setup(true, { total: 100, done: 25 });
  assert.match(known.output(), /█{6}░{18} 25\/100 pictures/);
  known.progress.stop();
  const { progress, clock, output } = setup(true, { total: undefined, shards: 4 });
  clock.time += 1000;
  progress.update(10, 2);
  progress.message("news");
  assert.match(output(), /news\n.*█{12}░{12} 10 pictures, shard 3\/4, 10\.0 pictures\/s/);
  progress.stop();
});
