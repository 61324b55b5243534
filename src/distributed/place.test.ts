import assert from "node:assert/strict";
import { test } from "node:test";
import { place } from "./place.js";

test("an ordinary process is alone, in a Slurm job and with srun but no MPI too", () => {
  const alone = { rank: 0, size: 1, localRank: 0, localSize: 1, launcher: undefined };
  assert.deepEqual(place({}), alone);
  assert.deepEqual(place({ SLURM_PROCID: "3", SLURM_NTASKS: "8", SLURM_LOCALID: "1" }), alone);
});

test("each launcher's variables are read", () => {
  const openMpi = {
    OMPI_COMM_WORLD_RANK: "5",
    OMPI_COMM_WORLD_SIZE: "8",
    OMPI_COMM_WORLD_LOCAL_RANK: "1",
    OMPI_COMM_WORLD_LOCAL_SIZE: "4",
    PMIX_RANK: "5",
  };
  assert.deepEqual(place(openMpi), {
    rank: 5,
    size: 8,
    localRank: 1,
    localSize: 4,
    launcher: "Open MPI",
  });
  const mpich = { PMI_RANK: "2", PMI_SIZE: "4", MPI_LOCALRANKID: "2", MPI_LOCALNRANKS: "3" };
  assert.deepEqual(place(mpich), {
    rank: 2,
    size: 4,
    localRank: 2,
    localSize: 3,
    launcher: "MPICH",
  });
  const pmi2 = { PMI_RANK: "2", PMI_SIZE: "4", SLURM_LOCALID: "1", SLURM_PROCID: "2" };
  assert.deepEqual(place(pmi2), {
    rank: 2,
    size: 4,
    localRank: 1,
    localSize: 1,
    launcher: "MPICH",
  });
  const pmix = { PMIX_RANK: "6", SLURM_PROCID: "6", SLURM_NTASKS: "8", SLURM_LOCALID: "2" };
  assert.deepEqual(place(pmix), {
    rank: 6,
    size: 8,
    localRank: 2,
    localSize: 1,
    launcher: "Slurm",
  });
});

test("mpirun within a Slurm job counts before Slurm, and a step before its job", () => {
  const job = { SLURM_PROCID: "0", SLURM_NTASKS: "2", SLURM_LOCALID: "0" };
  const mpirun = { ...job, PMI_RANK: "7", PMI_SIZE: "8", MPI_LOCALRANKID: "3" };
  assert.deepEqual(place(mpirun), {
    rank: 7,
    size: 8,
    localRank: 3,
    localSize: 1,
    launcher: "MPICH",
  });
  assert.equal(place({ ...job, PMIX_RANK: "1", SLURM_STEP_NUM_TASKS: "4" }).size, 4);
});

test("nonsense is refused by name", () => {
  assert.throws(() => place({ PMI_RANK: "4", PMI_SIZE: "4" }), {
    name: "ClipsmithError",
    message: /rank 4 of 4 \(PMI_RANK, PMI_SIZE\)/,
  });
  assert.throws(() => place({ PMI_RANK: "x", PMI_SIZE: "4" }), {
    name: "ClipsmithError",
    message: /PMI_RANK is "x"/,
  });
});
