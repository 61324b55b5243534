import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  openSource,
  type Sample,
  type SampleSource,
  type Skipped,
  type SourceSample,
} from "../data/index.js";
import { loadModel } from "../model/index.js";
import type { TrainingOptions } from "./options.js";
import { runFiles } from "./run-folder.js";
import { colourSamples, learntMetrics, stopAfter, TextSink, tinyClip } from "./testing.js";
import { type TrainOptions, train } from "./train.js";

let root: string;
let samples: Sample[];
/** The same as bytes, with several captions each. */
let inMemory: SourceSample[];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-sources-"));
  samples = await colourSamples(join(root, "pictures"));
  inMemory = await Promise.all(
    samples.map(async ({ picture, captions: [name] }) => ({
      name: `made.tar/${name}`,
      picture: await readFile(picture),
      captions: [`${name}`, `so ${name}`, `very ${name}`],
    })),
  );
});
after(() => rm(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);

/** A source whose shards have the entries. */
function sourceOf(...shards: readonly (SourceSample | Skipped)[][]): SampleSource {
  return {
    name: "made",
    shards: shards.map((entries, s) => ({
      name: `shard ${s}`,
      async *read(start = 0) {
        yield* entries.slice(start);
      },
    })),
  };
}

/** Three shards with what goes wrong in between. */
const mixedUp = () =>
  sourceOf(
    [...inMemory.slice(0, 4), { where: "made.tar/x", reason: "no caption" }],
    [{ ...inMemory[4]!, name: "made.tar/bad", picture: new Uint8Array(9) }, inMemory[5]!],
    inMemory.slice(4),
  );

function run(
  out: string,
  sources: TrainOptions["sources"],
  training: TrainingOptions = {},
  options: Partial<TrainOptions> = {},
) {
  return train({
    out,
    ...(sources && { sources }),
    model: { clip: tinyClip },
    training: {
      ...{ steps: 12, batchSize: 4, shuffleBuffer: 5, maxSkippedRate: 0.5, learningRate: 5e-3 },
      ...training,
    },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    ...options,
  });
}

const metricsOf = (out: string) => learntMetrics(join(out, runFiles.metrics));
const skippedOf = (out: string) =>
  readFileSync(join(out, runFiles.skipped), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Skipped & { cause: string });

test("a run over shards and samples that was stopped at any step is equal to one that was not", async () => {
  const sources = () => [mixedUp(), samples];
  const training = { sourceWeights: [2, 1], augment: { colour: { brightness: 0.3 } } };
  const whole = newFolder();
  const result = await run(whole, sources(), training);
  assert.deepEqual([result.steps, result.finished], [12, true]);
  assert.equal(new Set(metricsOf(whole).map(({ loss }) => loss)).size, 12);

  const parts = newFolder();
  for (let step = 1; step < 12; step++) {
    const stopped = await run(parts, sources(), training, {
      resume: step > 1,
      signal: stopAfter(1),
    });
    assert.deepEqual([stopped.steps, stopped.finished], [step, false]);
  }
  const finished = await run(parts, sources(), training, { resume: true });
  assert.deepEqual([finished.steps, finished.finished], [12, true]);
  assert.deepEqual(metricsOf(parts), metricsOf(whole));
  assert.deepEqual((await loadModel(parts)).weights, (await loadModel(whole)).weights);
  // Both saw the same go wrong.
  assert.deepEqual(skippedOf(parts), skippedOf(whole));
  const causes = skippedOf(whole).map(({ where, cause }) => [where, cause]);
  assert.equal(causes.length, 2);
  assert.deepEqual(
    causes.find(([where]) => where === "made.tar/x"),
    ["made.tar/x", "no caption"],
  );
  assert.match(causes.find(([where]) => where === "made.tar/bad")![1]!, /not a picture/);
  assert.equal(finished.skipped.count, 2);
});

test("a run that fails between batches has kept what it learnt, and goes on when data are mended", async () => {
  const whole = newFolder();
  const source = () => sourceOf(inMemory.slice(0, 3), inMemory.slice(3));
  await run(whole, [source()]);
  const out = newFolder();
  let reads = 0;
  const failing = source();
  const broken: SampleSource = {
    ...failing,
    shards: failing.shards.map((shard) => ({
      ...shard,
      read(start) {
        if (++reads > 9) throw new Error("the disk is gone");
        return shard.read(start);
      },
    })),
  };
  await assert.rejects(run(out, [broken]), /the disk is gone/);
  const before = metricsOf(out).length;
  assert.ok(before > 0 && before < 12, `${before}`);
  const result = await run(out, [source()], {}, { resume: true });
  assert.ok(result.finished);
  assert.deepEqual(metricsOf(out), metricsOf(whole));
  assert.deepEqual((await loadModel(out)).weights, (await loadModel(whole)).weights);
});

test("a shard that cannot be read is counted, and the others are learnt from", async () => {
  const out = newFolder();
  const lost: Skipped = { where: "shard 1", reason: "cut off", rest: true };
  const source = sourceOf(inMemory.slice(0, 4), [lost], inMemory.slice(4));
  const { finished, skipped } = await run(out, [source]);
  assert.ok(finished);
  assert.deepEqual([...skipped.causes], [["cut off", 1]]);
  assert.deepEqual(skipped.first, [{ where: "shard 1", reason: "cut off" }]);
});

test("what a folder leaves out is named once and counted, and too much of it is learnt from never", async () => {
  const folder = join(root, "uncaptioned");
  await cp(join(root, "pictures"), folder, { recursive: true });
  for (const [i, { captions }] of samples.entries()) {
    const [caption] = captions;
    await cp(samples[i]!.picture, join(folder, `${i}.png`));
    await writeFile(join(folder, `${i}.txt`), `${caption}`);
  }
  await writeFile(join(folder, "lonely.txt"), "no picture");
  const out = newFolder();
  const causes = ["no .txt file of captions beside the picture", "no picture beside the .txt file"];
  for (const resume of [false, true]) {
    const { skipped } = await run(out, [await openSource(folder)], { steps: 3 }, { resume });
    assert.equal(skipped.count, samples.length + 1);
    assert.deepEqual([...skipped.causes.keys()], causes);
    assert.equal(skippedOf(out).length, samples.length + 1);
    assert.ok(skippedOf(out).some(({ where }) => where === join(folder, "lonely.txt")));
  }
  const strict = newFolder();
  await assert.rejects(run(strict, [await openSource(folder)], { maxSkippedRate: 0 }), {
    name: "ClipsmithError",
    message: /^Training did not begin: .*training\.maxSkippedRate.*start anew by --overwrite, or/s,
  });
  assert.equal(skippedOf(strict).length, samples.length + 1);
  assert.ok(!existsSync(join(strict, runFiles.metrics)));
});

test("too many bad samples stop the run with a checkpoint, and the cause", async () => {
  const out = newFolder();
  const bad = Array.from({ length: 4 }, (_, i) => ({ where: `row ${i}`, reason: "no caption: -" }));
  const source = () => sourceOf([...inMemory.slice(0, 4), ...bad, ...inMemory.slice(4)]);
  await assert.rejects(run(out, [source()], { steps: 99, maxSkippedRate: 0.2 }), {
    name: "ClipsmithError",
    message:
      /^Training stopped: 3\d\.\d %.*more than the 20 %.*\n {2}4 times: no caption \(row \d\)\n/s,
  });
  const steps = metricsOf(out).length;
  assert.ok(steps >= 15 && steps < 20, `${steps}`);
  assert.ok(existsSync(join(out, runFiles.checkpoints, `step-000000${steps}`)));
});

test("what sources cannot do is refused before anything is written", async () => {
  const source = sourceOf(inMemory);
  const one = inMemory.slice(0, 1);
  const alike = inMemory.map((sample) => ({ ...sample, captions: ["same"] }));
  const cases: [(SampleSource | Sample[])[], TrainingOptions, RegExp][] = [
    [[source], { blend: 0.5 }, /^training\.blend .* not with shards\. Leave it out\.$/],
    [
      [source, samples],
      { sourceWeights: [1] },
      /^training\.sourceWeights has 1 weight for 2 sources:/,
    ],
    [[sourceOf(one)], {}, /at least two pictures with captions, to tell them apart; found 1\.$/],
    [[sourceOf(alike)], {}, /^All pictures have the same caption/],
    [[sourceOf([], [])], {}, /^made gave no sample in a whole pass over its 2 shards\.$/],
  ];
  for (const [sources, training, message] of cases) {
    const out = newFolder();
    await assert.rejects(run(out, sources, training), { name: "ClipsmithError", message });
    assert.ok(!existsSync(join(out, runFiles.training)));
  }
});

test("passes over the samples are a length, their last samples learnt from or left out", async () => {
  for (const [sources, epochs, dropLast, steps] of [
    [[sourceOf(inMemory.slice(0, 5), inMemory.slice(5))], 2, false, 6],
    [[samples], 2, true, 5],
    [[samples], 1.5, false, 4],
    [[samples], 0.1, true, 1],
  ] as const) {
    const out = newFolder();
    const options = { epochs, dropLast, batchSize: 3, steps: undefined };
    const stopped = await run(out, sources, options, { signal: stopAfter(0) });
    assert.deepEqual([stopped.steps, stopped.totalSteps], [0, steps]);
    // Without a checkpoint the samples are counted again.
    const result = await run(out, sources, options, { resume: true });
    assert.deepEqual([result.steps, result.totalSteps, result.finished], [steps, steps, true]);
  }
  await assert.rejects(run(newFolder(), [samples, samples], { epochs: 1 }), {
    name: "ClipsmithError",
    message: /^training\.epochs counts passes over one collection, .* by minutes or steps\.$/,
  });
});

test("a run goes on with its own sources alone", async () => {
  const out = newFolder();
  await run(out, [sourceOf(inMemory)], {}, { signal: stopAfter(1) });
  await assert.rejects(run(out, [samples], {}, { resume: true }), {
    name: "ClipsmithError",
    message: /begun over other sources\. Go on with the same ones, in the same order\.$/,
  });
});

test("a batch is no larger than a small source, also when the run goes on", async () => {
  const out = newFolder();
  const options = { batchSize: 99, steps: 4 };
  await run(out, [sourceOf(inMemory)], options, { signal: stopAfter(2) });
  const { finished, samplesPerSecond } = await run(out, [sourceOf(inMemory)], options, {
    resume: true,
  });
  assert.ok(finished && samplesPerSecond > 0);
  const { state } = JSON.parse(
    readFileSync(join(out, runFiles.checkpoints, "step-00000004", "state.json"), "utf8"),
  ) as { state: { batchSize: number } };
  assert.equal(state.batchSize, 8);
});
