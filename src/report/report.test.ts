import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { isHeldOut } from "../data/held-out.js";
import type { Sample, SampleSource, SourceSample } from "../data/index.js";
import { colourEmbedder, drawColours } from "../server/colours.test.fixture.js";
import type { MetricsRow, ReportData } from "./data.js";
import { drawSamples } from "./draw-samples.js";
import { MetricsFollower } from "./follow.js";
import { History } from "./history.js";
import { reportPage } from "./page.js";
import { findRetrievals } from "./retrievals.js";
import { FollowedRun } from "./run-report.js";
import { appendRows, makeRun, rowsOf } from "./testing.js";

let folder: string;
let samples: Sample[];
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-report-"));
  samples = await drawColours(join(folder, "pictures"));
});
after(() => rmSync(folder, { recursive: true }));

/** A source of one shard. */
function sourceOf(entries: readonly (Omit<SourceSample, "name"> & { name?: string })[]) {
  const shard = {
    name: "shard",
    async *read() {
      for (const [i, entry] of entries.entries()) yield { name: String(i), ...entry };
    },
  };
  return { name: "colours", shards: [shard] } satisfies SampleSource;
}

test("a long history is thinned evenly, but neither its ends nor rare rows are lost", () => {
  const history = new History();
  for (let step = 1; step <= 20_000; step++) {
    history.add({ step, loss: 1 });
    if (step % 4000 === 0) history.add({ step, "validation.loss": 2 });
  }
  const rows = history.rows();
  assert.ok(rows.length <= 1000 && rows.length > 900, String(rows.length));
  assert.deepEqual(rows[0], { step: 1, loss: 1 });
  assert.deepEqual(rows.slice(-2), [
    { step: 20_000, loss: 1 },
    { step: 20_000, "validation.loss": 2 },
  ]);
  assert.equal(rows.filter((row) => "validation.loss" in row).length, 5);
  const steps = rows.filter((row) => "loss" in row).map(({ step }) => step as number);
  const gaps = steps.slice(1).map((step, i) => step - steps[i]!);
  assert.ok(Math.min(...gaps) > 10 && Math.max(...gaps) < 40, `${gaps}`);
  const short = new History();
  for (const row of rows.slice(0, 7)) short.add(row);
  assert.deepEqual(short.rows(), rows.slice(0, 7));
});

test("metrics are followed: what is new, a torn line once it is whole, and a file that is replaced", async () => {
  const path = join(folder, "followed.jsonl");
  const follower = new MetricsFollower(path);
  assert.deepEqual(await follower.rows(), []);
  writeFileSync(path, '{"step":1}\nno JSON\n[2]\n{"step":2,"note":"gr');
  assert.deepEqual(await follower.rows(), [{ step: 1 }]);
  appendFileSync(path, Buffer.from("ö", "utf8").subarray(0, 1));
  await follower.rows();
  appendFileSync(path, Buffer.from("ö", "utf8").subarray(1));
  appendFileSync(path, 'ße"}\n{"step":3}');
  const expected: MetricsRow[] = [{ step: 1 }, { step: 2, note: "größe" }, { step: 3 }];
  // Both see all of it, and nothing is read twice.
  assert.deepEqual(await Promise.all([follower.rows(), follower.rows()]), [expected, expected]);
  appendFileSync(path, "\n");
  assert.deepEqual(await follower.rows(), expected);
  writeFileSync(path, '{"step":1}\n');
  assert.deepEqual(await follower.rows(), [{ step: 1 }]);
});

test("samples are drawn from all of a list, the same every time", async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => ({ picture: `${i}.png`, captions: ["x"] }));
  const drawn = await drawSamples(sourceOf(many), 200);
  const places = drawn.map(({ name }) => Number(name));
  assert.equal(new Set(places).size, 200);
  const mean = places.reduce((sum, place) => sum + place, 0) / 200;
  // Five standard errors of the mean of 200 places.
  assert.ok(Math.abs(mean - 5000) < 5 * (2887 / Math.sqrt(200)), `mean place ${mean}`);
  assert.deepEqual(await drawSamples(sourceOf(many), 200), drawn);
  assert.equal((await drawSamples(sourceOf(many.slice(0, 3)), 200)).length, 3);
});

test("of a source that is held out in part, only that part is drawn", async () => {
  const many = Array.from({ length: 2000 }, (_, i) => ({ picture: `${i}.png`, captions: ["x"] }));
  const drawn = await drawSamples(sourceOf(many), 2000, 0.1);
  assert.ok(drawn.length > 120 && drawn.length < 280, `${drawn.length} of about 200`);
  assert.ok(drawn.every(({ name }) => isHeldOut(name, 0.1)));
});

test("of archives only their beginnings are read, and those of a few", async () => {
  const reads = new Map<number, number>();
  const shards = Array.from({ length: 20 }, (_, s) => ({
    name: String(s),
    async *read() {
      for (let i = 0; i < 3000; i++) {
        reads.set(s, i + 1);
        yield { name: `${s}/${i}`, picture: new Uint8Array(1), captions: ["x"] };
        yield { where: `${s}/${i}`, reason: "broken" };
      }
    },
  }));
  const drawn = await drawSamples({ name: "archives", shards }, 50);
  assert.deepEqual([...reads.values()], [1024, 1024, 1024, 1024]);
  assert.equal(drawn.length, 50);
  assert.ok(new Set(drawn.map(({ name }) => name.split("/")[0])).size === 4);
});

test("what a model finds: the nearest with their scores, right answers marked", async () => {
  const broken = { picture: join(folder, "missing.png"), captions: ["missing"] };
  const source = sourceOf([...samples, broken]);
  const found = (await findRetrievals(colourEmbedder, source, { use: "learnt" }))!;
  assert.deepEqual(
    [found.from, found.use, found.pictures, found.captions],
    ["colours", "learnt", 30, 30],
  );
  assert.equal(found.byText.length, 6);
  for (const { text, matches } of found.byText) {
    assert.match(text, /^a \w+ (square|circle|diamond)$/);
    assert.equal(matches.length, 5);
    const scores = matches.map(({ score }) => score);
    assert.deepEqual(
      scores,
      scores.toSorted((a, b) => b - a),
    );
    // The embedder tells colours: the picture of the caption is one of the three of its colour.
    assert.equal(matches.slice(0, 3).filter(({ right }) => right).length, 1);
    assert.equal(matches.slice(3).filter(({ right }) => right).length, 0);
  }
  for (const { matches } of found.byPicture) {
    const [colour, ...others] = matches.slice(0, 3).map(({ text }) => text.split(" ")[1]);
    assert.deepEqual(others, [colour, colour]);
    assert.equal(matches.filter(({ right }) => right).length, 1);
  }
  const used = [...found.byText.flatMap(({ matches }) => matches), ...found.byPicture];
  const places = used.map(({ picture }) => picture);
  assert.deepEqual(
    [...new Set(places)].toSorted((a, b) => a - b),
    found.thumbnails.map((_, i) => i),
  );
  const [, base64] = /^data:image\/jpeg;base64,(.*)$/.exec(found.thumbnails[0]!)!;
  const { format, width } = await sharp(Buffer.from(base64!, "base64")).metadata();
  assert.deepEqual([format, width], ["jpeg", 176]);
  assert.ok(found.thumbnails.join("").length < 40 * 10_000);

  const again = await findRetrievals(colourEmbedder, source, { use: "learnt" });
  assert.deepEqual(again, found);
  const few = sourceOf([samples[0]!, broken]);
  assert.equal(await findRetrievals(colourEmbedder, few, { use: "learnt" }), undefined);
});

test("pictures out of archives are shown too, and a caption that several have is right for each", async () => {
  const bytes = await Promise.all(
    samples.slice(0, 6).map(({ picture }) => sharp(picture).png().toBuffer()),
  );
  const source = sourceOf(bytes.map((picture) => ({ picture, captions: ["  A SHAPE "] })));
  const found = (await findRetrievals(colourEmbedder, source, { use: "none" }))!;
  assert.deepEqual([found.captions, found.byText.length], [1, 1]);
  assert.ok(found.byText[0]!.matches.every(({ right }) => right));
  assert.equal(found.thumbnails.length, 6);
});

test("a run's folder is read as far as it is there", async () => {
  const run = join(folder, "run");
  const before = Date.now();
  const nothing = await new FollowedRun(run).report();
  const { time, ...rest } = nothing;
  assert.ok(before <= Date.parse(time) && Date.parse(time) <= Date.now());
  assert.deepEqual(rest, { title: "run", finished: false, history: [], settings: {} });

  makeRun(run, 60);
  const followed = new FollowedRun(run);
  const early = await followed.report();
  assert.deepEqual([early.finished, early.totalSteps], [false, 400]);
  assert.equal(early.history.length, 61);
  assert.deepEqual(early.settings, {
    training: { steps: 400, betas: [0.9, 0.98] },
    model: { format: 1, clip: { dimText: 16 } },
  });
  assert.equal(early.skipped, undefined);

  // Where minutes were given, a checkpoint knows the number of steps.
  writeFileSync(join(run, "training.json"), '{"minutes":5}');
  assert.equal((await followed.report()).totalSteps, undefined);
  const checkpoint = join(run, "checkpoints", "step-00000060");
  mkdirSync(checkpoint, { recursive: true });
  writeFileSync(join(checkpoint, "state.json"), '{"step":60,"state":{"totalSteps":90}}');
  appendRows(run, rowsOf(61));
  writeFileSync(join(run, "metrics.json"), '{"recallAt1":0.5}');
  writeFileSync(join(run, "model.safetensors"), "");
  const skipped = Array.from({ length: 30 }, (_, i) => ({
    where: `${i}.png`,
    reason: i % 3 ? "damaged: bits" : "too small",
    cause: i % 3 ? "damaged" : "too small",
  }));
  writeFileSync(join(run, "skipped.jsonl"), skipped.map((s) => `${JSON.stringify(s)}\n`).join(""));
  const late = await followed.report();
  assert.deepEqual([late.finished, late.totalSteps], [true, 90]);
  assert.deepEqual(late.history.at(-1), rowsOf(61)[0]);
  // What is planned now is newer than the checkpoint.
  appendRows(run, [{ ...rowsOf(62)[0]!, plannedSteps: 95 }]);
  assert.equal((await followed.report()).totalSteps, 95);
  assert.deepEqual(late.final, { recallAt1: 0.5 });
  assert.equal(late.skipped!.count, 30);
  assert.deepEqual(late.skipped!.causes, [
    ["damaged", 20],
    ["too small", 10],
  ]);
  assert.deepEqual(late.skipped!.examples[1], { where: "1.png", reason: "damaged: bits" });
});

test("the page is one file, and its data are what was put in, whatever captions say", () => {
  const hostile = "</script><script>alert(1)</script><!-- $& \u2028";
  const data: ReportData = {
    title: hostile,
    time: new Date(0).toISOString(),
    finished: true,
    history: [{ step: 1, loss: 1 }],
    settings: { training: { note: hostile } },
  };
  const html = reportPage(data);
  const [, json] = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)!;
  assert.deepEqual(JSON.parse(json!), data);
  assert.equal(html.split("</script>").length, 3);
  // Nothing is loaded: every address is one of data, and nothing is imported.
  for (const [, address] of html.matchAll(/\s(?:src|href)="(.*?)"/g)) {
    assert.match(address!, /^data:image\/svg\+xml;base64,/);
  }
  assert.doesNotMatch(html, /@import|url\(|import\s*[({"]|<link rel="stylesheet"/);
  assert.match(html, /Content-Security-Policy" content="default-src 'none'/);
  assert.ok(html.length < 200_000, `${html.length} bytes`);
});
