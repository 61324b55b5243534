/** `npm run parity -- DIR`: compares every model with x-clip's own numbers. */
import { ClipsmithError } from "../src/util/errors.js";
import { type CaseResult, passed, runFolder, worst } from "./parity.js";

const columns = ["case", "loss error", "gradient error", "output error", "verdict"] as const;

function row(result: CaseResult): string[] {
  const number = (value: number | undefined) => value?.toExponential(1) ?? "";
  return [
    result.name,
    number(worst(result, "loss")),
    number(worst(result, "gradient")),
    number(worst(result, "output")),
    verdict(result),
  ];
}

function verdict(result: CaseResult): string {
  if ("missing" in result) return `not supported: ${result.missing}`;
  if ("failure" in result) return `FAILED: ${result.failure}`;
  if (!passed(result)) return "OFF";
  return result.compat ? 'ok with compat: "x-clip"' : "ok";
}

function print(results: readonly CaseResult[]): void {
  const rows = [[...columns], ...results.map(row)];
  const widths = columns.map((_, i) => Math.max(...rows.map((cells) => cells[i]!.length)));
  for (const cells of rows) {
    console.log(
      cells
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    );
  }
  for (const result of results) {
    if (!("differences" in result)) continue;
    for (const { kind, name, error, allowed, ok } of result.differences) {
      if (!ok)
        console.log(`${result.name}: ${kind} ${name} is off by ${error}; allowed ${allowed}`);
    }
  }
  const supported = results.filter((result) => !("missing" in result));
  const off = supported.filter((result) => !passed(result));
  console.log(
    `\n${supported.length - off.length} agree, ${off.length} off, ` +
      `${results.length - supported.length} not supported`,
  );
  if (off.length > 0) process.exitCode = 1;
}

const folder = process.argv[2];
try {
  if (folder === undefined)
    throw new ClipsmithError("name a fixture folder: npm run parity -- DIR");
  print(await runFolder(folder));
} catch (error) {
  if (!(error instanceof ClipsmithError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
