import { realpathSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Launcher } from "./place.js";

/** The two families of libraries, whose binary interfaces differ. */
export type Family = "Open MPI" | "MPICH";

type Environment = Readonly<Record<string, string | undefined>>;

/** File names by family, with the version of the interface, which has been the same for ten years. */
const fileNames: Readonly<Record<Family, readonly string[]>> =
  process.platform === "darwin"
    ? { "Open MPI": ["libmpi.40.dylib"], MPICH: ["libmpi.12.dylib"] }
    : { "Open MPI": ["libmpi.so.40"], MPICH: ["libmpi.so.12", "libmpich.so.12"] };

const commands: Readonly<Record<Family, readonly string[]>> = {
  "Open MPI": [
    "Debian, Ubuntu: apt install openmpi-bin",
    "Fedora: dnf install openmpi && module load mpi/openmpi-x86_64",
    "macOS: brew install open-mpi",
    "conda: conda install -c conda-forge openmpi",
  ],
  MPICH: [
    "Debian, Ubuntu: apt install mpich",
    "Fedora: dnf install mpich && module load mpi/mpich-x86_64",
    "macOS: brew install mpich",
    "conda: conda install -c conda-forge mpich",
  ],
};

/** srun serves both. */
export function familiesOf(launcher: Launcher): readonly Family[] {
  return launcher === "Slurm" ? ["Open MPI", "MPICH"] : [launcher];
}

/**
 * Where the library that belongs to a launcher may be, best first: what CLIPSMITH_MPI says and nothing else;
 * beside the programs on the PATH, as modules, conda and Homebrew install; where the system looks itself.
 */
export function libraryCandidates(
  launcher: Launcher,
  environment: Environment = process.env,
): string[] {
  if (environment.CLIPSMITH_MPI) return [environment.CLIPSMITH_MPI];
  const folders = (environment.PATH ?? "").split(delimiter).flatMap((folder) => {
    try {
      const prefix = dirname(dirname(realpathSync(join(folder, "mpirun"))));
      return [join(prefix, "lib"), join(prefix, "lib64")];
    } catch {
      return []; // No mpirun in this folder.
    }
  });
  const names = familiesOf(launcher).flatMap((family) => fileNames[family]);
  return [...new Set(folders)]
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .concat(names);
}

/** How to get what is missing. */
export function installHint(launcher: Launcher): string {
  const families = familiesOf(launcher).map(
    (family) => `${family}:\n  ${commands[family].join("\n  ")}`,
  );
  return [
    "Install it on every host, or set CLIPSMITH_MPI to the library's path.",
    ...families,
  ].join("\n");
}
