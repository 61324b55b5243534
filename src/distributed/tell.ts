import { writeSync } from "node:fs";

/** Writes a line to stderr at once, for a process that is about to end, from whatever thread. */
export function tell(line: string): void {
  try {
    writeSync(2, `clipsmith: ${line}\n`);
  } catch {
    // Nobody reads it, or not fast enough: no reason to live on.
  }
}
