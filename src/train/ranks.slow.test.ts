/** Ranks that share every batch learn what one process learns. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import type { Sample } from "../data/index.js";
import { tarOf } from "../data/testing.js";
import { solo } from "../distributed/index.js";
import { eachMpi, resultsOf, runRanks } from "../distributed/testing.js";
import { loadModel } from "../model/index.js";
import { runFiles } from "./run-folder.js";
import { callOf, colourSamples, learntMetrics, lossCurves, trainColours } from "./testing.js";

const STEPS = 50;
type Curves = Awaited<ReturnType<typeof lossCurves>>;

let root: string;
let samples: Sample[];
let alone: Curves;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "ranks-of-clipsmith-"));
  samples = await colourSamples(join(root, "pictures"));
  const broken = join(root, "broken.png");
  await writeFile(broken, "no picture");
  samples.push({ picture: broken, captions: ["broken"] });
  alone = await lossCurves(solo(), STEPS);
  await trainColours(solo(), samples, join(root, "alone"));
});
after(() => rm(root, { recursive: true }));

/** Losses relative to those of one process. */
function assertSameLosses(
  losses: readonly number[],
  expected: readonly number[],
  what: string,
): void {
  assert.equal(losses.length, expected.length, what);
  for (const [step, loss] of expected.entries()) {
    const off = Math.abs(losses[step]! - loss) / Math.abs(loss);
    assert.ok(off <= 1e-5, `${what}, step ${step}: off by ${off}`);
  }
}

/** Shards of tar files, so many, each with two pictures and one that is none. */
async function writeShards(folder: string, count: number): Promise<string> {
  await mkdir(folder);
  for (let shard = 0; shard < count; shard++) {
    const files: [string, string | Buffer][] = [[`${shard}-broken.png`, "no picture"]];
    files.push([`${shard}-broken.txt`, "broken"]);
    for (const sample of [samples[shard % 8]!, samples[(3 * shard + 1) % 8]!]) {
      const key = `${shard}-${files.length}`;
      files.push([`${key}.png`, await readFile(sample.picture as string)]);
      files.push([`${key}.txt`, sample.captions[0]!]);
    }
    await writeFile(join(folder, `${shard}.tar`), await tarOf(files));
  }
  return join(folder, `{0..${count - 1}}.tar`);
}

const lossesOf = (run: string) =>
  learntMetrics(join(run, runFiles.metrics)).map(({ loss }) => loss as number);

eachMpi("losses of 50 steps are those of one process", [2, 4], async (mpirun, ranks) => {
  const [first, ...others] = await resultsOf(mpirun, ranks, callOf<Curves>("lossCurves", STEPS));
  for (const other of others) assert.deepEqual(other, first);
  for (const [name, { losses }] of Object.entries(alone)) {
    assertSameLosses(first![name]!.losses, losses, name);
    assert.ok(losses.at(-1)! < losses[0]!, name);
  }
});

eachMpi(
  "a run of ranks is the run of one process, pictures that cannot be read included",
  [2, 4],
  async (mpirun, ranks) => {
    const out = join(root, `${mpirun.family} ${ranks}`);
    await resultsOf(mpirun, ranks, callOf("trainColours", samples, out));
    assertSameLosses(lossesOf(out), lossesOf(join(root, "alone")), "whole");
    const skipped = (run: string) => readFileSync(join(run, runFiles.skipped), "utf8");
    assert.equal(skipped(out), skipped(join(root, "alone")));
    const [model, expected] = [await loadModel(out), await loadModel(join(root, "alone"))];
    for (const [name, values] of expected.weights) {
      const most = values.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
      for (const [i, value] of values.entries()) {
        const off = Math.abs(model.weights.get(name)![i]! - value) / most;
        assert.ok(off < 1e-3, `${name} is off by ${off}`);
      }
    }
  },
);

eachMpi(
  "ranks that read their own shards learn what one process learns, and go on in any number",
  [2, 4],
  async (mpirun, ranks) => {
    const folder = join(root, `${mpirun.family}, shards of ${ranks}`);
    const spec = await writeShards(folder, 5);
    const [whole, shared, resumed] = ["whole", "shared", "resumed"].map((n) => join(folder, n)) as [
      string,
      string,
      string,
    ];
    await trainColours(solo(), spec, whole, { readers: ranks });
    await resultsOf(mpirun, ranks, callOf("trainColours", spec, shared));
    assertSameLosses(lossesOf(shared), lossesOf(whole), "shared");
    const skipped = (run: string) =>
      readFileSync(join(run, runFiles.skipped), "utf8").split("\n").toSorted();
    assert.deepEqual(skipped(shared), skipped(whole));
    assert.equal(skipped(whole).length, 6);

    await resultsOf(mpirun, ranks, callOf("trainColours", spec, resumed, { steps: 4 }));
    await trainColours(solo(), spec, resumed, { resume: true, steps: 4 });
    await resultsOf(mpirun, 6 - ranks, callOf("trainColours", spec, resumed, { resume: true }));
    assertSameLosses(lossesOf(resumed), lossesOf(whole), "resumed");
  },
);

eachMpi(
  "a run that was stopped goes on with other ranks where it was",
  [2],
  async (mpirun, ranks) => {
    const out = join(root, `${mpirun.family}, stopped`);
    await trainColours(solo(), samples, out, { steps: 5 });
    await resultsOf(
      mpirun,
      ranks,
      callOf("trainColours", samples, out, { resume: true, steps: 4 }),
    );
    await trainColours(solo(), samples, out, { resume: true });
    assertSameLosses(lossesOf(out), lossesOf(join(root, "alone")), "resumed");
  },
);

eachMpi("a batch that is too small for the ranks is refused by all", [4], async (mpirun, ranks) => {
  const out = join(root, `${mpirun.family}, small`);
  const few = samples.slice(0, 3);
  const { code, stderr } = await runRanks(mpirun, ranks, callOf("trainColours", few, out));
  assert.notEqual(code, 0);
  assert.match(stderr, /A batch of 3 pairs cannot be shared by 4 ranks/);
  assert.ok(!existsSync(join(out, runFiles.checkpoints)));
});
