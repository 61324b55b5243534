import { ClipsmithError } from "../util/errors.js";

/** Where this process stands among those of its run, as the program that started it says. */
export interface Place {
  /** Number of this process, from 0. */
  readonly rank: number;
  /** Processes of the run, on all hosts. */
  readonly size: number;
  /** Number of this process among those on the same host, from 0; 0 where the launcher does not say. */
  readonly localRank: number;
  /** Processes of the run on the same host; 1 where the launcher does not say. */
  readonly localSize: number;
  /** What started it; undefined for an ordinary process, which is a run of its own. */
  readonly launcher: Launcher | undefined;
}

/** The family of the program that starts processes: `mpirun` of one of the two, or srun with PMIx. */
export type Launcher = "Open MPI" | "MPICH" | "Slurm";

type Environment = Readonly<Record<string, string | undefined>>;

interface Variables {
  readonly launcher: Launcher;
  readonly rank: string;
  /** The first that is set counts. */
  readonly size: readonly string[];
  readonly localRank: readonly string[];
  readonly localSize: readonly string[];
}

/**
 * In the order in which they are looked for: `mpirun` within a Slurm job sees Slurm's variables too, which
 * then tell of `mpirun` itself. SLURM_PROCID alone is no sign of a run: without a plugin for MPI srun starts
 * processes that cannot know of each other.
 */
const known: readonly Variables[] = [
  {
    launcher: "Open MPI",
    rank: "OMPI_COMM_WORLD_RANK",
    size: ["OMPI_COMM_WORLD_SIZE"],
    localRank: ["OMPI_COMM_WORLD_LOCAL_RANK"],
    localSize: ["OMPI_COMM_WORLD_LOCAL_SIZE"],
  },
  {
    // MPICH, Intel MPI, MVAPICH, Cray; srun --mpi=pmi2.
    launcher: "MPICH",
    rank: "PMI_RANK",
    size: ["PMI_SIZE"],
    localRank: ["MPI_LOCALRANKID", "SLURM_LOCALID"],
    localSize: ["MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE"],
  },
  {
    // srun --mpi=pmix.
    launcher: "Slurm",
    rank: "PMIX_RANK",
    size: ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"],
    localRank: ["SLURM_LOCALID"],
    localSize: ["SLURM_NTASKS_PER_NODE"],
  },
];

/**
 * Rank and size from the environment alone, with no MPI. An ordinary process is rank 0 of 1.
 *
 * @throws ClipsmithError when a launcher's variables contradict each other
 */
export function place(environment: Environment = process.env): Place {
  for (const { launcher, ...names } of known) {
    const rank = numberIn(environment, [names.rank]);
    const size = numberIn(environment, names.size);
    if (rank === undefined || size === undefined) continue;
    if (rank >= size)
      throw new ClipsmithError(
        `The environment says rank ${rank} of ${size} (${[names.rank, ...names.size].join(", ")}): ` +
          "ranks count from 0. Variables left over from another run?",
      );
    const localRank = numberIn(environment, names.localRank) ?? 0;
    const localSize = numberIn(environment, names.localSize) ?? 1;
    return { rank, size, localRank, localSize, launcher };
  }
  return { rank: 0, size: 1, localRank: 0, localSize: 1, launcher: undefined };
}

function numberIn(environment: Environment, names: readonly string[]): number | undefined {
  const name = names.find((name) => environment[name]);
  if (name === undefined) return undefined;
  const text = environment[name]!;
  if (!/^\d+$/.test(text))
    throw new ClipsmithError(`The environment's ${name} is "${text}", which is no count.`);
  return Number(text);
}
