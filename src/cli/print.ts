import type { Skipped } from "../data/index.js";
import { causeLines, countSkipped, type SkippedSummary } from "../data/skip-log.js";

/** So many things left out are named at most; of more, the causes are told. */
const NAMED = 5;

/** Tells what was left out: each of a few, or else how many of each cause; nothing for none. */
export function skippedLines(skipped: readonly Skipped[]): string[] {
  if (skipped.length === 0) return [];
  const title = `Skipped ${skipped.length.toLocaleString("en")}:`;
  if (skipped.length > NAMED) return [title, ...causeLines(countSkipped(skipped))];
  const named = skipped.map(({ where, reason }) => {
    // A picture's reason may name its file already.
    return reason.includes(where) ? `  ${reason}` : `  ${where}: ${reason}`;
  });
  return [title, ...named];
}

/**
 * Tells what a run left out: each of a few, or else how many of each cause, and the file that names them.
 *
 * @param told what was told of before, when collections were read
 */
export function skippedSummary(
  skipped: SkippedSummary,
  file: string,
  told: readonly Skipped[] = [],
): string[] {
  const before = new Map(told.map((one) => [one.where, one]));
  const known = countSkipped([...before.values()]);
  const count = skipped.count - known.count;
  const first = skipped.first.filter(({ where }) => !before.has(where));
  if (count <= first.length && count <= NAMED) return skippedLines(first);
  const causes = [...skipped.causes].map(
    ([cause, times]) => [cause, times - (known.causes.get(cause) ?? 0)] as const,
  );
  const rest = { count, causes: new Map(causes.filter(([, times]) => times > 0)), first };
  const more = known.count > 0 ? " more" : "";
  return [`Skipped ${count.toLocaleString("en")}${more}, see ${file}:`, ...causeLines(rest)];
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
