import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { ClipsmithError, messageOf } from "../util/errors.js";
import type { Skipped } from "./sample.js";

/** What was left out. */
export interface SkippedSummary {
  /** How many different files, rows and shards. */
  readonly count: number;
  /** How many of each cause, the commonest first. */
  readonly causes: ReadonlyMap<string, number>;
  /** The first of them. */
  readonly first: readonly Skipped[];
}

/** How much may be skipped, and what is said where it is more. */
export interface SkipLimit {
  /** The greatest part of the entries of late. */
  readonly rate: number;
  /** What stops, such as "Training". */
  readonly work: string;
  /** The option that sets the rate, as its user knows it. */
  readonly option: string;
  /** What to do, in place of mending what was skipped: the end of a sentence. */
  readonly remedy: string;
}

/** Those that are kept in {@link SkippedSummary}; all are in the file. */
const FIRST = 10;
/** The rate is judged after this many entries ... */
const LEAST_ENTRIES = 100;
/** ... and by about this many of the last ones: what goes wrong late counts as what does early. */
const LAST_ENTRIES = 1000;

/**
 * Keeps account of what cannot be used: counts by cause, and a file with a line for each,
 * `{where, reason, cause}`. A cause is what stands before ": " in a reason.
 */
export class SkipLog {
  readonly #path: string;
  readonly #limit: SkipLimit;
  readonly #writes: boolean;
  readonly #known: Set<string>;
  readonly #causes = new Map<string, number>();
  readonly #first: Skipped[] = [];
  /** Entries of late, and those skipped among them. */
  #entries = 0;
  #skipped = 0;
  /** How many were told of. */
  #told: number;

  /**
   * @param path of the file; one that is there is gone on with
   * @param writes false where another process keeps the same account and the file
   */
  constructor(path: string, limit: SkipLimit, writes = true) {
    this.#path = path;
    this.#limit = limit;
    this.#writes = writes;
    this.#known = new Set();
    for (const skipped of writes ? readSkipped(path) : []) this.#note(skipped);
    this.#told = this.#known.size;
  }

  get summary(): SkippedSummary {
    const causes = new Map([...this.#causes].sort(([, a], [, b]) => b - a));
    return { count: this.#known.size, causes, first: this.#first };
  }

  /** What to tell since it was last asked: the first ones each, and then sums, ever more seldom. */
  news(): string[] {
    const from = this.#told;
    this.#told = this.#known.size;
    const named = this.#first
      .slice(from)
      .map(({ where, reason }) =>
        reason.includes(where) ? `Skipped a picture. ${reason}` : `Skipped ${where}: ${reason}`,
      );
    const power = 10 ** Math.floor(Math.log10(Math.max(1, this.#told)));
    if (power <= FIRST || from >= power) return named;
    const count = this.#told.toLocaleString("en");
    return [...named, `Skipped ${count} so far, see ${this.#path}:`, ...causeLines(this.summary)];
  }

  /** Entries that can be used. */
  used(count = 1): void {
    this.#count(count, 0);
  }

  /**
   * An entry that cannot. `lost` is the number of entries it stands for.
   *
   * @throws ClipsmithError when too many are skipped, or the file cannot be written
   */
  skip({ where, reason }: Skipped, lost = 1): void {
    if (!this.#known.has(where)) {
      this.#note({ where, reason });
      if (this.#writes) this.#write({ where, reason });
    }
    this.#count(lost, lost);
    if (this.#entries >= LEAST_ENTRIES && this.#skipped > this.#limit.rate * this.#entries) {
      const percent = (rate: number) => `${Number((100 * rate).toPrecision(3))} %`;
      const { work, rate, option, remedy } = this.#limit;
      throw new ClipsmithError(
        `${work} stopped: ${percent(this.#skipped / this.#entries)} of the last samples could not be ` +
          `used, more than the ${percent(rate)} of ${option}. So far:\n` +
          `${causeLines(this.summary).join("\n")}\n` +
          `${this.#path} names them. Mend them, or ${remedy}.`,
      );
    }
  }

  #write({ where, reason }: Skipped): void {
    const line = `${JSON.stringify({ where, reason, cause: causeOf(reason) })}\n`;
    try {
      appendFileSync(this.#path, line);
    } catch (cause) {
      throw new ClipsmithError(`Cannot write ${this.#path}: ${messageOf(cause)}.`, { cause });
    }
  }

  #note(skipped: Skipped): void {
    this.#known.add(skipped.where);
    const cause = causeOf(skipped.reason);
    this.#causes.set(cause, (this.#causes.get(cause) ?? 0) + 1);
    if (this.#first.length < FIRST) this.#first.push(skipped);
  }

  #count(entries: number, skipped: number): void {
    this.#entries += entries;
    this.#skipped += skipped;
    if (this.#entries > 2 * LAST_ENTRIES) {
      this.#entries /= 2;
      this.#skipped /= 2;
    }
  }
}

/** A line for each of the commonest causes: how often, what, and an example. */
export function causeLines({ causes, first }: SkippedSummary): string[] {
  const lines = [...causes].slice(0, FIRST).map(([cause, count]) => {
    const example = first.find(({ reason }) => causeOf(reason) === cause);
    const times = count === 1 ? "once" : `${count.toLocaleString("en")} times`;
    return `  ${times}: ${cause}${example ? ` (${example.where})` : ""}`;
  });
  const more = causes.size - lines.length;
  return more > 0 ? [...lines, `  ... and ${more.toLocaleString("en")} more causes`] : lines;
}

function causeOf(reason: string): string {
  return reason.split(": ", 1)[0]!;
}

/** What the file names so far; a line that a killed process left unfinished is cut off. */
function readSkipped(path: string): Skipped[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new ClipsmithError(`Cannot read ${path}: ${messageOf(cause)}.`, { cause });
  }
  const lines = text.split("\n");
  if (lines.pop() !== "") writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
  return lines.map((line, index) => {
    try {
      const { where, reason } = JSON.parse(line) as Partial<Skipped>;
      if (typeof where === "string" && typeof reason === "string") return { where, reason };
    } catch {
      // Told below.
    }
    throw new ClipsmithError(
      `${path}, line ${index + 1}: expected a JSON object with where and reason, found ` +
        `${line.slice(0, 80)}. Remove the line.`,
    );
  });
}
