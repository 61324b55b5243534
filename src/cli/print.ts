import type { Skipped } from "../data/index.js";
import { causeLines, type SkippedSummary } from "../data/skip-log.js";

/** Things left out that are named; of more, only the number is told. */
const NAMED = 5;

/** For example "1 picture" or "1,234 pictures". */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** Tells how many things were left out, and the first ones with their reasons; nothing for none. */
export function skippedLines(skipped: readonly Skipped[]): string[] {
  if (skipped.length === 0) return [];
  const named = skipped.slice(0, NAMED).map(({ where, reason }) => {
    // A picture's reason may name its file already.
    return reason.includes(where) ? `  ${reason}` : `  ${where}: ${reason}`;
  });
  const more = skipped.length - named.length;
  return [
    `Skipped ${skipped.length.toLocaleString("en")}:`,
    ...named,
    ...(more > 0 ? [`  ... and ${more.toLocaleString("en")} more`] : []),
  ];
}

/** Tells what a run left out: each of a few, or else how many of each cause, and the file that names them. */
export function skippedSummary(skipped: SkippedSummary, file: string): string[] {
  if (skipped.count <= NAMED) return skippedLines(skipped.first);
  return [`Skipped ${skipped.count.toLocaleString("en")}, see ${file}:`, ...causeLines(skipped)];
}

let isSilent = false;

/** From here on nothing is printed: another rank tells of the same run. Errors are told all the same. */
export function silence(): void {
  isSilent = true;
}

/** Writes lines to standard output. */
export function print(...lines: readonly string[]): void {
  if (isSilent) return;
  for (const line of lines) process.stdout.write(`${line}\n`);
}

/** Writes lines to standard error, for what is no result. */
export function warn(...lines: readonly string[]): void {
  if (isSilent) return;
  for (const line of lines) process.stderr.write(`${line}\n`);
}
