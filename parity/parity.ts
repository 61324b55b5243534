import { readdir } from "node:fs/promises";
import { ClipsmithError, messageOf } from "../src/util/errors.js";
import { type Compat, runClipCase } from "./clip-case.js";
import type { Difference } from "./compare.js";
import { runDistributedCase } from "./distributed-case.js";
import { type Fixture, readFixture } from "./fixture.js";
import { runModuleCase } from "./module-case.js";
import { Unsupported } from "./run.js";
import { runTrainingCase } from "./training-case.js";

/** What became of one case. */
export type CaseResult =
  | {
      readonly name: string;
      readonly differences: readonly Difference[];
      /** Only as the original, `compat: "x-clip"`, does it agree: the papers say otherwise. */
      readonly compat: boolean;
    }
  | { readonly name: string; readonly missing: string }
  /** It could not be run, for example for want of a tensor. */
  | { readonly name: string; readonly failure: string };

const runners: Record<string, (fixture: Fixture, compat?: Compat) => Promise<Difference[]>> = {
  train: runClipCase,
  eval: runClipCase,
  distributed: runDistributedCase,
  training: runTrainingCase,
  module: runModuleCase,
};

/**
 * Runs every case of a fixture folder: every `<case>.json` that has a `<case>.safetensors` beside it.
 *
 * @throws ClipsmithError if the folder is missing or has no case.
 */
export async function runFolder(folder: string): Promise<CaseResult[]> {
  const files = await readdir(folder).catch(() => {
    throw new ClipsmithError(
      `there is no fixture folder ${folder}; name one: npm run parity -- DIR`,
    );
  });
  const names = files
    .filter((file) => file.endsWith(".json"))
    .map((file) => file.slice(0, -".json".length))
    .filter((name) => files.includes(`${name}.safetensors`))
    .sort();
  if (names.length === 0) {
    throw new ClipsmithError(`${folder} has no case: a .json with a .safetensors of its name`);
  }
  const results: CaseResult[] = [];
  for (const name of names) results.push(await runCase(folder, name));
  return results;
}

/** Runs one case. One that fails does not keep others from running. */
export async function runCase(folder: string, name: string): Promise<CaseResult> {
  try {
    const fixture = await readFixture(folder, name);
    const run = runners[fixture.kind];
    if (run === undefined) return { name, missing: fixture.kind };
    const differences = await run(fixture);
    if (differences.length === 0) return { name, failure: "it has no output to compare with" };
    const result = { name, differences, compat: false };
    if (passed(result)) return result;
    return { name, differences: await run(fixture, "x-clip"), compat: true };
  } catch (error) {
    if (error instanceof Unsupported) return { name, missing: error.message };
    return { name, failure: messageOf(error) };
  }
}

/** Whether it ran, and every difference is inside its bound. */
export function passed(result: CaseResult): boolean {
  return "differences" in result && result.differences.every(({ ok }) => ok);
}

/** The largest error of a kind, for the table. */
export function worst(result: CaseResult, kind: Difference["kind"]): number | undefined {
  if (!("differences" in result)) return undefined;
  const errors = result.differences.filter((d) => d.kind === kind).map(({ error }) => error);
  return errors.length === 0 ? undefined : Math.max(...errors);
}
