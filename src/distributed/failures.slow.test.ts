import assert from "node:assert/strict";
import type { Communicator } from "./communicator.js";
import { eachMpi, runRanks } from "./testing.js";

/** Seconds. A rank that is well is not silent for so long on a busy machine either. */
const LIMIT = 5;

/** Process number of each rank, from the line that rank 0 writes at the start. */
function processesIn(stderr: string): number[] {
  return [...stderr.matchAll(/(\d+) is (\d+)/g)].map(([, , process]) => Number(process));
}

eachMpi("a killed rank ends the run, and is told", [3], async (mpirun) => {
  const { code, stdout, stderr } = await runRanks(mpirun, 3, async (communicator) => {
    await communicator.barrier();
    if (communicator.rank === 1) process.kill(process.pid, "SIGKILL");
    await communicator.barrier();
  });
  assert.notEqual(code, 0);
  const told =
    mpirun.family === "Open MPI"
      ? /process rank 1 .*signal 9/
      : /rank 1 of 3 \(host .*\) was killed, as the first on its host/;
  assert.match(stdout + stderr, told);
  assert.doesNotMatch(stderr, /rank [02] of 3 .* was killed/);
});

eachMpi("a stopped rank ends the run, and is named", [3], async (mpirun) => {
  const program = async (communicator: { rank: number; barrier(): Promise<void> }) => {
    await communicator.barrier();
    if (communicator.rank === 1) process.kill(process.pid, "SIGSTOP");
    await communicator.barrier();
  };
  const { code, stderr } = await runRanks(mpirun, 3, program, { waitLimitSeconds: LIMIT });
  assert.notEqual(code, 0);
  const [, stopped] = processesIn(stderr);
  const named = new RegExp(
    `rank 1 of 3 \\(host .*, process ${stopped}\\) has not reached operation 2 \\(barrier\\) for \\d+ s and ` +
      "does not answer",
  );
  assert.match(stderr, named);
  assert.match(stderr, /rank [02] of 3 .* ends the run: it has waited longer than 5 s/);
  assert.doesNotMatch(stderr, /rank [02] of 3 .* has not reached/);
});

eachMpi("a rank whose program is stuck is named", [3], async (mpirun) => {
  const program = async (communicator: { rank: number; barrier(): Promise<void> }) => {
    await communicator.barrier();
    await communicator.barrier();
    if (communicator.rank === 2) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    await communicator.barrier();
  };
  const { code, stderr } = await runRanks(mpirun, 3, program, { waitLimitSeconds: LIMIT });
  assert.notEqual(code, 0);
  assert.match(
    stderr,
    /rank 2 of 3 .* has not reached operation 3 .*its program is at work, or stuck/,
  );
  assert.doesNotMatch(stderr, /rank [01] of 3 .* has not reached/);
});

eachMpi("a rank that gives signs of life is waited for, until it is stuck", [3], async (mpirun) => {
  const program = async (communicator: Communicator) => {
    const bed = new Int32Array(new SharedArrayBuffer(4));
    await communicator.barrier();
    for (let i = 0; i < 200 && communicator.rank === 2; i++) {
      communicator.atWork();
      Atomics.wait(bed, 0, 0, 50);
    }
    await communicator.barrier();
    if (communicator.rank === 2) Atomics.wait(bed, 0, 0);
    await communicator.barrier();
  };
  const { code, stderr } = await runRanks(mpirun, 3, program, { waitLimitSeconds: LIMIT });
  assert.notEqual(code, 0);
  // Operation 2 lasted twice the limit.
  assert.match(
    stderr,
    /rank 2 of 3 .* has not reached operation 3 .*its program is at work, or stuck/,
  );
  assert.doesNotMatch(stderr, /operation 2|rank [01] of 3 .* has not reached/);
});

eachMpi("ranks that ask for different things are told", [3], async (mpirun) => {
  const { code, stderr } = await runRanks(mpirun, 3, async (communicator) => {
    await communicator.allReduce(new Float32Array(communicator.rank === 2 ? 5 : 4));
  });
  assert.notEqual(code, 0);
  assert.match(
    stderr,
    /rank 2 of 3 .* is at allReduce of 5 float32 where rank 0 is at allReduce of 4 float32 \(operation 1\)/,
  );
});

eachMpi("a rank that fails ends the run, and is named", [2], async (mpirun) => {
  const { code, stderr } = await runRanks(mpirun, 2, async (communicator) => {
    if (communicator.rank === 1) throw new Error("the disk is full");
    await communicator.barrier();
  });
  assert.notEqual(code, 0);
  assert.match(stderr, /the disk is full/);
  assert.match(stderr, /rank 1 of 2 \(.*\) has failed \(exit status 1\)/);
});

eachMpi("a rank that ends too early ends the run, and is named", [2], async (mpirun) => {
  const { code, stderr } = await runRanks(mpirun, 2, async (communicator) => {
    if (communicator.rank === 1) process.exit(0);
    await communicator.barrier();
  });
  assert.notEqual(code, 0);
  assert.match(stderr, /rank 1 of 2 \(.*\) has ended without closing/);
});

eachMpi("abort ends all ranks", [2], async (mpirun) => {
  const { code, stderr } = await runRanks(mpirun, 2, async (communicator) => {
    if (communicator.rank === 1) communicator.abort("no shards are left");
    await communicator.barrier();
  });
  assert.notEqual(code, 0);
  assert.match(stderr, /rank 1 of 2 \(.*\): no shards are left/);
});
