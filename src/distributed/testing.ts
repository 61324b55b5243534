/** For tests: programs that run as several ranks, with each MPI that is here. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Communicator } from "./communicator.js";
import type { MpiOptions } from "./mpi-communicator.js";
import type { Family } from "./mpi-library.js";

/** A program that starts ranks. */
export interface Mpirun {
  readonly family: Family;
  /** As `mpirun.openmpi`. */
  readonly program: string;
}

/** Debian names programs by family where both are installed. */
function findMpiruns(): Mpirun[] {
  const found = new Map<Family, Mpirun>();
  for (const program of ["mpirun.openmpi", "mpirun.mpich", "mpirun"]) {
    const { status, stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
    if (status !== 0) continue;
    const family = familyOf(stdout);
    if (family && !found.has(family)) found.set(family, { family, program });
  }
  return [...found.values()];
}

function familyOf(version: string): Family | undefined {
  if (/Open MPI|OpenRTE|PRTE/.test(version)) return "Open MPI";
  return /HYDRA/.test(version) ? "MPICH" : undefined;
}

/** Those that are here. */
export const mpiruns: readonly Mpirun[] = findMpiruns();

/**
 * Declares a test for each family of MPI and each number of ranks. It is skipped where the family is not
 * installed.
 *
 * @param obstacle why it cannot run on this machine
 */
export function eachMpi(
  what: string,
  sizes: readonly number[],
  body: (mpirun: Mpirun, ranks: number) => Promise<void>,
  obstacle?: string,
): void {
  for (const family of ["Open MPI", "MPICH"] satisfies Family[]) {
    const mpirun = mpiruns.find((mpirun) => mpirun.family === family);
    const skip = mpirun ? obstacle : `${family} is not installed: see docs/distributed.md`;
    for (const ranks of sizes) {
      test(`${what}: ${ranks} ranks, ${family}`, { skip: skip ?? false }, () =>
        body(mpirun!, ranks),
      );
    }
  }
}

/** The command line that starts `command` as several ranks on this machine, whatever its number of cores. */
export function ranksCommand(
  { family, program }: Mpirun,
  ranks: number,
  command: readonly string[],
): { command: [string, ...string[]]; env: NodeJS.ProcessEnv } {
  const flags = family === "Open MPI" ? ["--oversubscribe", "--bind-to", "none"] : [];
  const env = {
    ...process.env,
    OMPI_ALLOW_RUN_AS_ROOT: "1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
    // Containers often forbid what it does otherwise: to read another process's memory.
    OMPI_MCA_btl_vader_single_copy_mechanism: "none",
  };
  return { command: [program, ...flags, "-n", String(ranks), ...command], env };
}

/** A call of an exported function of a module as a program of ranks, which knows nothing else. */
export function programOf<R>(url: string, name: string, ...parameters: readonly unknown[]) {
  const list = parameters.map((parameter) => `, ${JSON.stringify(parameter)}`).join("");
  return new Function(
    "communicator",
    `return import("${url}").then((m) => m.${name}(communicator${list}));`,
  ) as (communicator: Communicator) => Promise<R>;
}

/** A run that takes this long hangs. */
const MOST_MS = 20 * 60_000;
/** For what a run says at its end to arrive. */
const LAST_WORDS_MS = 10_000;

/** What the ranks left behind. */
export interface RanksEnded<R> {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What each rank returned; undefined for one that did not come so far. */
  readonly results: readonly (R | undefined)[];
}

export interface RanksOptions extends MpiOptions {
  /** Flags of mpirun in addition. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the command after it. */
  readonly before?: readonly string[];
}

/**
 * Runs a function as several ranks, each with its communicator, which is closed after it.
 *
 * @param body knows nothing but its argument and what it imports itself: its text is what is run. What it
 *   returns goes through JSON.
 */
export async function runRanks<R>(
  mpirun: Mpirun,
  ranks: number,
  body: (communicator: Communicator) => Promise<R>,
  { flags = [], env: extra = {}, before = [], ...options }: RanksOptions = {},
): Promise<RanksEnded<R>> {
  const folder = mkdtempSync(join(tmpdir(), "clipsmith-ranks-"));
  const fileOf = (rank: number | string) => join(folder, `${rank}.json`);
  const source = `
    import { writeFileSync } from "node:fs";
    import { openCommunicator } from ${JSON.stringify(new URL("./index.js", import.meta.url))};
    const communicator = await openCommunicator(${JSON.stringify(options)});
    const result = await (${body})(communicator);
    await communicator.close();
    writeFileSync(${JSON.stringify(folder)} + "/" + communicator.rank + ".json", JSON.stringify(result ?? null));`;
  try {
    const node = [process.execPath, "--input-type=module", "--eval", source];
    const { command, env } = ranksCommand(mpirun, ranks, node);
    const [program, ...args] = command;
    const [name, ...words] = [...before, program, ...flags, ...args];
    const child = spawn(name!, words, {
      env: { ...env, ...extra },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: MOST_MS,
    });
    const { code, stdout, stderr } = await ended(child);
    const results = Array.from({ length: ranks }, (_, rank): R | undefined =>
      existsSync(fileOf(rank)) ? JSON.parse(readFileSync(fileOf(rank), "utf8")) : undefined,
    );
    return { code, stdout, stderr, results };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What each rank returned, of a run that must succeed. */
export async function resultsOf<R>(...run: Parameters<typeof runRanks<R>>): Promise<R[]> {
  const { code, stdout, stderr, results } = await runRanks(...run);
  assert.equal(code, 0, stdout + stderr);
  return results.map((result) => result!);
}

async function ended(child: ChildProcess) {
  let [stdout, stderr] = ["", ""];
  child.stdout!.setEncoding("utf8").on("data", (text) => {
    stdout += text;
  });
  child.stderr!.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
    // What mpirun left running may hold its streams.
    child.on("exit", (code) => setTimeout(resolve, LAST_WORDS_MS, code).unref());
  });
  return { code, stdout, stderr };
}
