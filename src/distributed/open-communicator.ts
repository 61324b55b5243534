import type { Communicator, CommunicatorOptions } from "./communicator.js";
import { MpiCommunicator } from "./mpi-communicator.js";
import { place } from "./place.js";
import { solo } from "./solo.js";

/**
 * The ranks of this run: those that `mpirun` or srun started, over the MPI library that belongs to it or that
 * CLIPSMITH_MPI names, or this process alone. Rank 0 says on stderr which process is which rank, for launchers
 * tell of a process that dies only by its number.
 *
 * @throws ClipsmithError when there are several ranks, but no MPI library or no koffi; it says how to install them
 */
export async function openCommunicator(options: CommunicatorOptions = {}): Promise<Communicator> {
  const here = place();
  return here.launcher === undefined || here.size === 1
    ? solo()
    : MpiCommunicator.open(here, here.launcher, options);
}
