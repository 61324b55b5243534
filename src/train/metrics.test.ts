import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ClipsmithError } from "../util/errors.js";
import { MetricsWriter, readMetrics } from "./metrics.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-metrics-"));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
const newFile = () => join(folder, `metrics-${files++}.jsonl`);

test("each line is in the file at once", () => {
  const path = newFile();
  const writer = new MetricsWriter(path);
  writer.write({ step: 1, loss: 2.5, note: "größe" });
  assert.equal(readFileSync(path, "utf8"), '{"step":1,"loss":2.5,"note":"größe"}\n');
  writer.write({ step: 2, loss: NaN });
  assert.deepEqual(readMetrics(path), [
    { step: 1, loss: 2.5, note: "größe" },
    { step: 2, loss: null },
  ]);
  writer.close();
});

test("a new run starts the file anew", () => {
  const path = newFile();
  writeFileSync(path, '{"step":1}\n');
  new MetricsWriter(path).close();
  assert.equal(readFileSync(path, "utf8"), "");
});

test("a resumed run takes back what came after its step, and a torn line", () => {
  const path = newFile();
  const lines = [1, 2, 3, 4].map((step) => `{"step":${step},"loss":1}\n`);
  writeFileSync(path, `${lines.join("")}{"step":5,"lo`);
  const writer = new MetricsWriter(path, { resumedStep: 2 });
  writer.write({ step: 3, loss: 0.5 });
  writer.close();
  const expected = `${lines[0]}${lines[1]}{"step":3,"loss":0.5}\n`;
  assert.equal(readFileSync(path, "utf8"), expected);
  assert.ok(!readdirSync(folder).some((name) => name.endsWith(".tmp")));
});

test("a torn last line is passed over, even one that is whole but for its end", () => {
  const path = newFile();
  writeFileSync(path, '{"step":1}\n{"step":2}');
  assert.deepEqual(readMetrics(path), [{ step: 1 }]);
});

test("a resumed run without a file starts one", () => {
  const path = newFile();
  const writer = new MetricsWriter(path, { resumedStep: 7 });
  writer.write({ step: 8 });
  writer.close();
  assert.deepEqual(readMetrics(path), [{ step: 8 }]);
  assert.deepEqual(readMetrics(newFile()), []);
});

test("another broken line is named by its number, and the file stays as it is", () => {
  for (const broken of ["{", "[1]", '{"loss":1}', ""]) {
    const path = newFile();
    const text = `{"step":1}\n${broken}\n{"step":3}\n`;
    writeFileSync(path, text);
    assert.throws(
      () => new MetricsWriter(path, { resumedStep: 3 }),
      (error) =>
        error instanceof ClipsmithError &&
        error.message.startsWith(`${path}, line 2: expected a JSON object with a step`),
    );
    assert.equal(readFileSync(path, "utf8"), text);
  }
});
