import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { runTraining } from "./training-process.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-training-process-"));
after(() => rmSync(folder, { recursive: true }));

const own = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);

/** Stands in for a training; writes what became of it to a file. */
const script = join(folder, "training.mjs");
writeFileSync(
  script,
  `
import { writeFileSync } from "node:fs";
import { asTraining } from ${own("./training-process.js")};
import { ClipsmithError } from ${own("../src/util/errors.js")};
await asTraining(async ({ kind, file }, signal, begun) => {
  if (kind === "wrong") throw new ClipsmithError("(Meant to be seen: the pictures are gone.)");
  begun();
  if (kind === "killed") process.kill(process.pid, "SIGKILL");
  if (kind === "endless") await new Promise((stop) => signal.addEventListener("abort", stop));
  writeFileSync(file, signal.aborted ? "stopped" : "ended");
});
`,
);

const training = pathToFileURL(script);
let files = 0;
const newFile = () => join(folder, `outcome-${files++}`);

test("what goes on meanwhile ends with the training", async () => {
  const file = newFile();
  let isOver: AbortSignal | undefined;
  const meanwhile = async (signal: AbortSignal) => {
    isOver = signal;
    if (!signal.aborted) await once(signal, "abort");
  };
  assert.equal(await runTraining(training, { kind: "short", file }, meanwhile), true);
  assert.equal(readFileSync(file, "utf8"), "ended");
  assert.equal(isOver?.aborted, true);
});

test("what fails meanwhile stops no training", async () => {
  const file = newFile();
  const meanwhile = () => Promise.reject(new Error("(Meant to be seen: the disk is full.)"));
  assert.equal(await runTraining(training, { kind: "short", file }, meanwhile), true);
  assert.equal(readFileSync(file, "utf8"), "ended");
});

for (const [kind, message] of [
  ["wrong", /^The training failed: it says why above\.$/],
  ["killed", /^The training was ended by SIGKILL\.$/],
] as const) {
  test(`a training that comes to no good end is told of: ${kind}`, async () => {
    const file = newFile();
    await assert.rejects(
      runTraining(training, { kind, file }, async () => {}),
      { name: "ClipsmithError", message },
    );
    assert.equal(existsSync(file), false);
  });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal} has the training stop in its own time`, async () => {
    const file = newFile();
    const listeners = process.listenerCount(signal);
    const running = runTraining(training, { kind: "endless", file }, async () => {
      process.emit(signal);
    });
    assert.equal(await running, false);
    assert.equal(readFileSync(file, "utf8"), "stopped");
    assert.equal(process.listenerCount(signal), listeners);
  });
}

test("a training outlives no process that began it", async () => {
  const file = newFile();
  const parent = join(folder, "parent.mjs");
  writeFileSync(
    parent,
    `
import { runTraining } from ${own("./training-process.js")};
const task = ${JSON.stringify({ kind: "endless", file })};
await runTraining(new URL(${JSON.stringify(training.href)}), task, async () => console.log("begun"));
`,
  );
  const child = spawn(process.execPath, [parent], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  // The training holds the other end.
  await once(child.stdout, "close");
  assert.equal(readFileSync(file, "utf8"), "stopped");
});
