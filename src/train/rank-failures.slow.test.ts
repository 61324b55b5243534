/** What becomes of a training when one of its ranks is killed or stopped, and while it works alone. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { solo } from "../distributed/index.js";
import { eachMpi, resultsOf, runRanks } from "../distributed/testing.js";
import { writeTars } from "../embed/testing.js";
import { loadModel } from "../model/index.js";
import { latestCheckpoint } from "./checkpoint.js";
import { runFiles } from "./run-folder.js";
import { runStateSchema } from "./run-state.js";
import {
  callOf,
  colourSamples,
  type Fault,
  learntMetrics,
  trainTars,
  trainWithValidation,
} from "./testing.js";

let root: string;
let tars: string;
let alone: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "rank-failures-of-clipsmith-"));
  // 41 usable samples, so that twelve batches of seven go twice through them.
  tars = await writeTars(join(root, "tars"), [13, 9, 20], [11]);
  alone = join(root, "alone");
  await trainTars(solo(), tars, alone);
});
after(() => rm(root, { recursive: true }));

/** The newest checkpoint of a run. None is damaged; one may have been under way. */
async function checkpointIn(run: string) {
  const { latest, warnings } = await latestCheckpoint(join(run, runFiles.checkpoints));
  for (const warning of warnings) assert.match(warning, /\.tmp is ignored/);
  return latest!;
}

/** Where a run stands in its samples. */
const positionIn = async (run: string) =>
  runStateSchema.parse((await checkpointIn(run)).state).position;

eachMpi(
  "what a killed and a stopped rank leave goes on with other ranks, as if nothing had been",
  [2],
  async (mpirun, ranks) => {
    const out = join(root, mpirun.family);
    const killed: Fault = { rank: 1, step: 6, signal: "SIGKILL" };
    const first = await runRanks(mpirun, ranks, callOf("trainTars", tars, out, { fault: killed }));
    assert.notEqual(first.code, 0);
    const told =
      mpirun.family === "Open MPI"
        ? /process rank 1 .*signal 9/
        : /rank 1 of 2 \(host .*\) was killed, as the first on its host/;
    assert.match(first.stdout + first.stderr, told);
    const { step } = await checkpointIn(out);
    assert.ok(step === 4 || step === 5, `${step}`);

    const stopped: Fault = { rank: 2, step: 4, signal: "SIGSTOP" };
    const program = callOf("trainTars", tars, out, { resume: true, fault: stopped });
    const second = await runRanks(mpirun, 4, program, { waitLimitSeconds: 20 });
    assert.notEqual(second.code, 0);
    assert.match(
      second.stderr,
      /rank 2 of 4 \(host .*\) has not reached operation \d+ \(.*\) for \d+ s and does not answer/,
    );
    assert.doesNotMatch(second.stderr, /rank [013] of 4 .* has not reached/);
    assert.ok((await checkpointIn(out)).step > step);
    assert.ok(!existsSync(join(out, "model.safetensors")));

    await trainTars(solo(), tars, out, { resume: true });
    const [curve, expected] = [out, alone].map((run) =>
      learntMetrics(join(run, runFiles.metrics)).map(({ loss }) => loss as number),
    );
    assert.equal(curve!.length, 12);
    for (const [i, loss] of expected!.entries()) {
      const off = Math.abs(curve![i]! - loss) / Math.abs(loss);
      assert.ok(off <= 1e-5, `the loss of step ${i + 1} is off by ${off}`);
    }
    const [model, whole] = [await loadModel(out), await loadModel(alone)];
    for (const [name, values] of whole.weights) {
      const far = values.reduce(
        (far, x, i) => Math.max(far, Math.abs(x - model.weights.get(name)![i]!)),
        0,
      );
      assert.ok(far <= 1e-5, `${name} is off by ${far}`);
    }
    assert.deepEqual(await positionIn(out), await positionIn(alone));
  },
);

eachMpi("rank 0 alone reads what to validate on", [2], async (mpirun, ranks) => {
  const samples = await colourSamples(join(root, `${mpirun.family} pictures`));
  const out = join(root, `${mpirun.family}, validated`);
  const program = callOf<number>("trainWithValidation", samples, out);
  assert.deepEqual(await resultsOf(mpirun, ranks, program), [10, 0]);
});

test("what rank 0 does alone is full of signs of life", async () => {
  const samples = await colourSamples(join(root, "pictures"));
  let signs = 0;
  const communicator = { ...solo(), atWork: () => signs++ };
  await trainWithValidation(communicator, samples, join(root, "validated"));
  // Ten samples read, and three batches that are decoded first and measured in the end.
  assert.equal(signs, 10 + 3 + 3);
});
