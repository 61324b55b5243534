import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Hono } from "hono";
import type { ApiError, ApiTraining } from "./api.js";
import { Training } from "./training.js";
import { trainingRoutes } from "./training-routes.js";

let folder: string;
let script: string;

/** Stands in for the command line: writes metrics, prints, then does what its "minutes" say. */
const program = `
import { mkdirSync, writeFileSync } from "node:fs";
const [collection, run, minutes] = process.argv.slice(2);
mkdirSync(run, { recursive: true });
writeFileSync(run + "/metrics.jsonl", '{"step":1,"loss":2.5}\\n');
process.stdout.write("step 1\\rstep 2\\n\\x1b[32mtraining on " + collection + "\\x1b[0m\\nno newline");
if (minutes === "2") throw new Error("out of disk");
if (minutes === "3") setInterval(() => {}, 1000);
if (minutes === "4") { process.on("SIGTERM", () => console.log("not yet")); setInterval(() => {}, 1000); }
`;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "clipsmith-training-"));
  script = join(folder, "train.mjs");
  await writeFile(script, program);
});
after(() => rm(folder, { recursive: true, force: true }));

function makeApp(): Hono {
  const training = new Training({
    runs: join(folder, "runs"),
    command: ({ collection, run, minutes }) => [script, collection, run, String(minutes)],
  });
  return trainingRoutes(training);
}

function post(app: Hono, body: unknown, type = "application/json"): Response | Promise<Response> {
  const headers = { "content-type": type };
  return app.request("/api/train", { method: "POST", headers, body: JSON.stringify(body) });
}

async function status(app: Hono): Promise<ApiTraining> {
  return (await (await app.request("/api/train")).json()) as ApiTraining;
}

async function until(app: Hono, wanted: (now: ApiTraining) => boolean): Promise<ApiTraining> {
  for (;;) {
    const now = await status(app);
    if (wanted(now)) return now;
    await sleep(20);
  }
}

test("a training runs to its end and says how to search its model", async () => {
  const app = makeApp();
  assert.deepEqual(await status(app), { state: "idle", output: [], metrics: { history: [] } });
  const started = await post(app, { collection: folder, minutes: 1 });
  assert.equal(started.status, 202);
  assert.equal(((await started.json()) as ApiTraining).state, "running");

  const done = await until(app, ({ state }) => state !== "running");
  assert.equal(done.state, "done");
  assert.deepEqual(done.output, ["step 1", "step 2", `training on ${folder}`, "no newline"]);
  assert.deepEqual(done.metrics.history, [{ step: 1, loss: 2.5 }]);
  assert.equal(done.minutes, 1);
  assert.ok(done.elapsedSeconds! > 0);
  assert.ok(basename(done.run!).startsWith(basename(folder)));
  assert.ok(done.next!.every((line) => line.startsWith("clipsmith ") && line.includes(done.run!)));

  const again = await post(app, { collection: folder, minutes: 1 });
  assert.equal(again.status, 202);
  const twice = await until(app, ({ state }) => state !== "running");
  assert.notEqual(twice.run, done.run);
});

test("a training that fails shows its last words", async () => {
  const app = makeApp();
  await post(app, { collection: folder, minutes: 2 });
  const failed = await until(app, ({ state }) => state !== "running");
  assert.equal(failed.state, "failed");
  assert.match(failed.output.join("\n"), /out of disk/);
  assert.equal(failed.next, undefined);
});

test("one training at a time, which can be stopped", async () => {
  const app = makeApp();
  await post(app, { collection: folder, minutes: 3 });
  const second = await post(app, { collection: folder, minutes: 1 });
  assert.equal(second.status, 409);
  assert.match(((await second.json()) as ApiError).error, /running/);
  await until(app, ({ output }) => output.length > 0);
  assert.equal((await app.request("/api/train", { method: "DELETE" })).status, 202);
  await until(app, ({ state }) => state === "stopped");
});

test("a training that does not heed the first stop ends at the second", async () => {
  const app = makeApp();
  await post(app, { collection: folder, minutes: 4 });
  await until(app, ({ output }) => output.length > 0);
  await app.request("/api/train", { method: "DELETE" });
  await until(app, ({ output }) => output.includes("no newlinenot yet"));
  await app.request("/api/train", { method: "DELETE" });
  await until(app, ({ state }) => state === "stopped");
});

test("requests to train are checked", async () => {
  const app = makeApp();
  const rejected = async (body: unknown, wanted: number, type?: string) => {
    const response = await post(app, body, type);
    assert.equal(response.status, wanted);
    return ((await response.json()) as ApiError).error;
  };
  assert.match(await rejected({ collection: folder }, 415, "text/plain"), /application\/json/);
  assert.match(await rejected({ collection: folder, epochs: 3 }, 400), /epochs/);
  assert.match(await rejected({ collection: folder, minutes: -1 }, 400), /minutes/);
  assert.match(await rejected({ collection: folder, minutes: "5" }, 400), /minutes/);
  assert.match(await rejected({}, 400), /collection/);
  assert.match(await rejected({ collection: join(folder, "none") }, 400), /There is no folder/);
  assert.match(await rejected({ collection: "~/no such folder" }, 400), new RegExp(homedir()));
  assert.match(await rejected({ collection: "x".repeat(70_000) }, 413), /too long/);
  const broken = await app.request("/api/train", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{",
  });
  assert.equal(broken.status, 400);
  assert.equal((await status(app)).state, "idle");
});

test("by default the command line of this package does the training", async () => {
  const training = new Training({ runs: join(folder, "default-runs") });
  training.start(join(folder, "nothing here"), 1);
  while (training.running) await sleep(20);
  const { state, output } = await training.status();
  // With no such collection, and whether or not the command line is built, it ends in words.
  assert.equal(state, "failed");
  assert.match(output.join("\n"), /nothing here|main\.js/);
});
