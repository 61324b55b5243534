import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SkipLog } from "./skip-log.js";

const root = mkdtempSync(join(tmpdir(), "clipsmith-skip-log-"));
after(() => rmSync(root, { recursive: true }));

const limit = (rate: number) => ({
  rate,
  work: "Training",
  option: "training.maxSkippedRate",
  remedy: "allow for more",
});

let files = 0;
const newPath = () => join(root, `skipped-${files++}.jsonl`);
const linesOf = (path: string) =>
  readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown);

test("what was to be used for something else is named and counted, and no part of the rate", () => {
  const path = newPath();
  const log = new SkipLog(path, limit(0.01));
  const aside = Array.from({ length: 200 }, (_, i) => ({
    where: `${i}.png`,
    reason: "no caption",
  }));
  log.aside(aside);
  log.aside(aside.slice(0, 5));
  assert.deepEqual(log.news(), []);
  assert.equal(linesOf(path).length, 200);
  assert.deepEqual([...log.summary.causes], [["no caption", 200]]);
  log.used(200);
  log.skip({ where: "a.png", reason: "no caption" });
  assert.equal(log.summary.count, 201);
});

test("each thing is named once, with its cause, also over several processes", () => {
  const path = newPath();
  const log = new SkipLog(path, limit(0.9));
  log.skip({ where: "a.png", reason: "the file is empty: really" });
  log.skip({ where: "row 3", reason: "no caption" });
  log.skip({ where: "a.png", reason: "the file is empty: really" });
  const expected = [
    {
      where: "a.png",
      reason: "the file is empty: really",
      cause: "the file is empty",
    },
    { where: "row 3", reason: "no caption", cause: "no caption" },
  ];
  assert.deepEqual(linesOf(path), expected);
  // A killed process may leave half a line.
  appendFileSync(path, '{"where":"x');
  const resumed = new SkipLog(path, limit(0.9));
  resumed.skip({ where: "row 3", reason: "no caption" });
  resumed.skip({ where: "row 4", reason: "no caption" });
  const { count, causes, first } = resumed.summary;
  assert.equal(count, 3);
  assert.deepEqual(
    [...causes],
    [
      ["no caption", 2],
      ["the file is empty", 1],
    ],
  );
  assert.deepEqual(
    first.map(({ where }) => where),
    ["a.png", "row 3", "row 4"],
  );
  assert.equal(new SkipLog(path, limit(0.9)).summary.count, 3);
});

test("the first ones are told of, then sums, ever more seldom", () => {
  const log = new SkipLog(newPath(), limit(0.99));
  assert.deepEqual(log.news(), []);
  const told: string[][] = [];
  for (let i = 1; i <= 1200; i++) {
    log.used();
    log.skip({ where: `${i}.png`, reason: i % 3 === 0 ? "no caption" : "too small: 3 px" });
    if (i % 5 === 0) told.push(log.news());
  }
  assert.deepEqual(told[0]!.slice(0, 3), [
    "Skipped 1.png: too small: 3 px",
    "Skipped 2.png: too small: 3 px",
    "Skipped 3.png: no caption",
  ]);
  const later = told.slice(2).filter((lines) => lines.length > 0);
  assert.deepEqual(
    later.map(([line]) => line!.replace(/, see .*/, "")),
    ["Skipped 100 so far", "Skipped 1,000 so far"],
  );
  assert.deepEqual(later[1]!.slice(1), [
    "  667 times: too small (1.png)",
    "  333 times: no caption (3.png)",
  ]);
});

test("too many stop the run, early or late, but not too early", () => {
  const skip = { where: "a.png", reason: "no caption: in row 1" };
  const message =
    /^Training stopped: 2[0-4]\.?\d* % of the last samples could not be used, more than the 20 % of training\.maxSkippedRate\. So far:\n {2}once: no caption \(a\.png\)\n.*skipped-\d+\.jsonl names them\. Mend them, or allow for more\.$/;
  for (const before of [0, 100_000]) {
    const log = new SkipLog(newPath(), limit(0.2));
    for (let i = 0; i < before; i++) log.used();
    let taken = 0;
    assert.throws(
      () => {
        for (; taken < 5000; taken++) {
          // A bit more than a fifth.
          if (taken % 24 < 5) log.skip(skip);
          else log.used();
        }
      },
      { name: "ClipsmithError", message },
    );
    assert.ok(taken >= 99, `after ${taken}`);
  }
  const log = new SkipLog(newPath(), limit(0.2));
  for (let i = 0; i < 50; i++) log.skip(skip);
  for (let i = 0; i < 10_000; i++) {
    if (i % 6 === 0 && i > 500) log.skip(skip);
    else log.used();
  }
});

test("a lost shard counts for what was in it", () => {
  const log = new SkipLog(newPath(), limit(0.2));
  for (let i = 0; i < 300; i++) log.used();
  log.skip({ where: "a.tar", reason: "cut off" }, 50);
  assert.throws(() => log.skip({ where: "b.tar", reason: "cut off" }, 50), /2 times: cut off/);
});

test("what a collection leaves out is named, and too much of it is an error, also of a small one", () => {
  const leftOut = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ where: `${i}.png`, reason: "no caption: none" }));
  for (const [count, usable, rate] of [
    [20, 5, 0.2],
    [0, 0, 0],
    [200, 800, 0.2],
  ] as const) {
    const log = new SkipLog(newPath(), limit(rate));
    log.leftOut(leftOut(count), usable, "Mend them");
    assert.equal(log.summary.count, count);
  }
  for (const [count, usable, rate] of [
    [60, 20, 0.2],
    [21, 9, 0.2],
    [1, 50, 0],
    [201, 799, 0.2],
  ] as const) {
    const path = newPath();
    const log = new SkipLog(path, limit(rate));
    assert.throws(() => log.leftOut(leftOut(count), usable, "Mend them"), {
      name: "ClipsmithError",
      message: new RegExp(
        `^Training did not begin: ${count} of the [\\d,]+ entries of its collections \\([\\d.]+ %\\) ` +
          "cannot be used, more than the .*: no caption \\(0\\.png\\)\n.*Mend them, or allow for more\\.$",
        "s",
      ),
    });
    assert.equal(linesOf(path).length, count);
    // Gone on with, each is still one; and whoever read the collection has told of them.
    const resumed = new SkipLog(path, limit(0.9));
    resumed.leftOut(leftOut(count), usable, "Mend them");
    assert.equal(linesOf(path).length, count);
    assert.deepEqual(resumed.news(), []);
  }
});
