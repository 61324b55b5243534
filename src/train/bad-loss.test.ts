import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { faultOf, recordBadBatch } from "./bad-loss.js";

test("losses and gradients that are no numbers are faults at any step", () => {
  for (const loss of [Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.equal(
      faultOf({ loss, gradientNorm: Number.NaN }, undefined, 0, undefined),
      `loss is ${loss}`,
    );
  }
  assert.equal(
    faultOf({ loss: 2, gradientNorm: Number.POSITIVE_INFINITY }, 2, 99, 3),
    "gradients are not finite (loss 2)",
  );
});

test("a spike is a fault where it is asked for and losses have settled", () => {
  const step = { loss: 6.5, gradientNorm: 1 };
  assert.match(
    faultOf(step, 2, 50, 3)!,
    /^loss is 6\.500, more than 3 times its mean of late, 2\.000$/,
  );
  assert.equal(faultOf(step, 2, 50, 3.25), undefined);
  assert.equal(faultOf(step, 2, 49, 3), undefined);
  assert.equal(faultOf(step, 2, 50, undefined), undefined);
});

test("bad batches are lines of a file, and the first samples are named", () => {
  const folder = mkdtempSync(join(tmpdir(), "clipsmith-bad-"));
  const path = join(folder, "bad.jsonl");
  const bad = { step: 7, fault: "loss is NaN", samples: ["a.png", "b.png", "c.png", "d.png"] };
  assert.equal(
    recordBadBatch(path, bad),
    `The batch was a.png, b.png, c.png and 1 more (all are named in ${path}).`,
  );
  recordBadBatch(path, { ...bad, step: 9 });
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [bad, { ...bad, step: 9 }],
  );
  rmSync(folder, { recursive: true });
});
