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
/** Lines of the file that are written together. */
const LINES_AT_ONCE = 10_000;

/**
 * Keeps account of what cannot be used: counts by cause, and a file with a line for each,
 * `{where, reason, cause}`. A cause is what stands before ": " in a reason.
 */
export class SkipLog {
  readonly #path: string;
  readonly #limit: SkipLimit;
  readonly #writes: boolean;
  readonly #known: Set<string>;
  readonly #counts = new SkipCounts();
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
    return this.#counts.summary;
  }

  /** What to tell since it was last asked: the first ones each, and then sums, ever more seldom. */
  news(): string[] {
    const from = this.#told;
    this.#told = this.#known.size;
    const named = this.summary.first
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
  skip(skipped: Skipped, lost = 1): void {
    this.#record([skipped]);
    if (skipped.aside) return;
    this.#count(lost, lost);
    if (this.#entries >= LEAST_ENTRIES && this.#skipped > this.#limit.rate * this.#entries) {
      const { work, rate, option, remedy } = this.#limit;
      throw new ClipsmithError(
        `${work} stopped: ${percent(this.#skipped / this.#entries)} of the last samples could not be ` +
          `used, more than the ${percent(rate)} of ${option}. So far:\n` +
          `${causeLines(this.summary).join("\n")}\n` +
          `${this.#path} names them. Mend them, or ${remedy}.`,
      );
    }
  }

  /**
   * What a collection that is read beforehand leaves out, beside its `usable` entries. It is no news: whoever
   * reads a collection tells of it.
   *
   * @param mend what to do about it: the beginning of a sentence
   * @throws ClipsmithError when it is too much: more than the rate of all, or of a hundred if there are
   *   fewer; and when the file cannot be written
   */
  leftOut(all: readonly Skipped[], usable: number, mend: string): void {
    for (let at = 0; at < all.length; at += LINES_AT_ONCE) {
      this.#record(all.slice(at, at + LINES_AT_ONCE));
    }
    const skipped = all.filter(({ aside }) => !aside);
    this.#told = this.#known.size;
    const entries = skipped.length + usable;
    const { work, rate, option, remedy } = this.#limit;
    if (skipped.length <= rate * Math.max(entries, LEAST_ENTRIES)) return;
    const [left, total] = [skipped.length, entries].map((count) => count.toLocaleString("en"));
    throw new ClipsmithError(
      `${work} did not begin: ${left} of the ${total} entries of its collections ` +
        `(${percent(skipped.length / entries)}) cannot be used, more than the ${percent(rate)} of ` +
        `${option}:\n${causeLines(countSkipped(skipped)).join("\n")}\n` +
        `${this.#path} names them. ${mend}, or ${remedy}.`,
    );
  }

  /** What was to be used for something else, such as validation: named and counted, and no part of the rate. */
  aside(skipped: readonly Skipped[]): void {
    this.#record(skipped);
    this.#told = this.#known.size;
  }

  /** Writes down those that are not known yet. */
  #record(skipped: readonly Skipped[]): void {
    let lines = "";
    for (const { where, reason } of skipped) {
      if (this.#known.has(where)) continue;
      this.#note({ where, reason });
      lines += `${JSON.stringify({ where, reason, cause: causeOf(reason) })}\n`;
    }
    if (lines === "" || !this.#writes) return;
    try {
      appendFileSync(this.#path, lines);
    } catch (cause) {
      throw new ClipsmithError(`Cannot write ${this.#path}: ${messageOf(cause)}.`, { cause });
    }
  }

  #note(skipped: Skipped): void {
    this.#known.add(skipped.where);
    this.#counts.add(skipped);
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

/** Counts what is left out, by cause. */
export class SkipCounts {
  #count = 0;
  readonly #causes = new Map<string, number>();
  readonly #first: Skipped[] = [];

  add(skipped: Skipped): void {
    const cause = causeOf(skipped.reason);
    this.#count++;
    this.#causes.set(cause, (this.#causes.get(cause) ?? 0) + 1);
    if (this.#first.length < FIRST) this.#first.push(skipped);
  }

  get summary(): SkippedSummary {
    const causes = new Map([...this.#causes].sort(([, a], [, b]) => b - a));
    return { count: this.#count, causes, first: this.#first };
  }
}

/** The summary of all of these. */
export function countSkipped(skipped: readonly Skipped[]): SkippedSummary {
  const counts = new SkipCounts();
  for (const one of skipped) counts.add(one);
  return counts.summary;
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

function percent(rate: number): string {
  return `${Number((100 * rate).toPrecision(3))} %`;
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
