import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ReportData } from "../report/index.js";
import { clipsmith, makeCollection, start, tinyModel, untilStep } from "./testing.js";

let folder: string;
let collection: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-report-command-"));
  collection = join(folder, "colours");
  await makeCollection(collection, 12);
});
after(() => rmSync(folder, { recursive: true, force: true }));

function dataOf(report: string): ReportData {
  const html = readFileSync(report, "utf8");
  const [, json] = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)!;
  return JSON.parse(json!) as ReportData;
}

test("train writes a report, for TensorBoard too; report writes it again with other pictures", async () => {
  const run = join(folder, "run");
  const trained = await clipsmith("train", collection, "--out", run, "--steps", "4", ...tinyModel);
  assert.equal(trained.code, 0, trained.stderr);
  const report = join(run, "report.html");
  assert.ok(trained.stdout.includes(report), trained.stdout);
  const { title, finished, totalSteps, history, settings, retrievals } = dataOf(report);
  assert.deepEqual([title, finished, totalSteps, history.length], ["run", true, 4, 4]);
  for (const name of ["loss", "logitScale", "learningRate", "samplesPerSecond", "rssMB"]) {
    assert.equal(typeof history.at(-1)![name], "number", name);
  }
  assert.equal((settings.training as { steps: number }).steps, 4);
  assert.deepEqual([retrievals!.from, retrievals!.use], [collection, "learnt"]);
  assert.equal(retrievals!.pictures, 12);
  assert.ok(existsSync(join(run, "tensorboard")));

  const other = join(folder, "others");
  await makeCollection(other, 5);
  const out = join(folder, "other.html");
  const again = await clipsmith("report", run, other, "--out", out);
  assert.equal(again.code, 0, again.stderr);
  assert.equal(again.stdout, `The report is in ${out}.\n`);
  const found = dataOf(out).retrievals!;
  assert.deepEqual([found.from, found.use, found.pictures], [other, "none", 5]);

  const gone = await clipsmith("report", run, join(folder, "gone"));
  assert.equal(gone.code, 0, gone.stderr);
  assert.match(gone.stderr, /The report does not show what the model finds\. .*gone/);
  assert.equal(dataOf(report).retrievals, undefined);
});

test("what a model finds, it finds among pictures that it has not learnt from, where there are any", async () => {
  const validated = ["--steps", "2", ...tinyModel, "--set", "training.validation.part=0.4"];
  const parted = join(folder, "parted");
  const train = (run: string, ...more: string[]) =>
    clipsmith("train", collection, "--out", run, ...more);
  assert.equal((await train(parted, ...validated)).code, 0);
  const { retrievals, history } = dataOf(join(parted, "report.html"));
  assert.deepEqual([retrievals!.from, retrievals!.use], [collection, "heldOut"]);
  assert.ok(retrievals!.pictures < 12, `${retrievals!.pictures} of 12`);
  assert.equal(typeof history.at(-1)!["validation.loss"], "number");

  const others = join(folder, "validation");
  await makeCollection(others, 6);
  const apart = join(folder, "apart");
  const { code } = await train(apart, "--steps", "2", ...tinyModel, "--validation", others);
  assert.equal(code, 0);
  const found = dataOf(join(apart, "report.html")).retrievals!;
  assert.deepEqual([found.from, found.use, found.pictures], [others, "heldOut", 6]);
});

test("a training is watched while it runs, and its process ends with it", async () => {
  const run = join(folder, "watched");
  const args = ["train", collection, "--out", run, "--minutes", "60", ...tinyModel];
  const running = start([...args, "--watch", "--port", "0"]);
  const [, url] = await running.output(/^Watch it at (\S+)$/m);
  await untilStep(running, run, 5);
  const live = (await (await fetch(`${url}/api/report`)).json()) as ReportData;
  assert.ok(live.history.length >= 5);
  assert.equal(live.finished, false);
  assert.match(await (await fetch(url!)).text(), /<!doctype html>/);
  running.child.kill("SIGINT");
  const { stdout, signal } = await running.ended;
  assert.equal(signal, null);
  assert.match(stdout, /Stopped after step \d+/);
  await assert.rejects(fetch(url!));
  // What there is so far, without a model's findings.
  const { finished, retrievals, history } = dataOf(join(run, "report.html"));
  assert.deepEqual([finished, retrievals], [false, undefined]);
  assert.ok(history.length >= 5);
});

test("a run is followed by another process until it is told to stop", async () => {
  const run = join(folder, "run");
  const running = start(["report", run, "--watch", "--port", "0"]);
  const [, url] = await running.output(/^Following .* at (\S+) until Ctrl\+C\.$/m);
  const { history } = (await (await fetch(`${url}/api/report`)).json()) as ReportData;
  assert.equal(history.length, 4);
  running.child.kill("SIGINT");
  assert.equal((await running.ended).code, 0);
});

test("a taken port and a folder without a run are said, before anything is done", async () => {
  const other = createServer();
  await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
  const port = String((other.address() as AddressInfo).port);
  const run = join(folder, "none");
  const taken = await clipsmith("train", collection, "--out", run, "--watch", "--port", port);
  other.close();
  assert.equal(taken.code, 1);
  assert.match(taken.stderr, new RegExp(`^Port ${port} is taken.*--port`));
  assert.ok(!existsSync(run));
  const empty = await clipsmith("report", run);
  assert.equal(empty.code, 1);
  assert.match(empty.stderr, /none holds no training: it has no training\.json\.$/m);
});
