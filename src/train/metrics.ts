import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { ClipsmithError, messageOf } from "../util/errors.js";

/** What was measured at a step, for example its loss. JSON knows no NaN or infinity: they become null. */
export interface Metrics {
  readonly step: number;
  readonly [name: string]: number | string | boolean | null;
}

/** What a step's metrics say of the machine: equal runs differ in these alone. */
export const machineMetrics: readonly string[] = ["samplesPerSecond", "dataWaitSeconds", "rssMB"];

/** Writes metrics as lines of JSON, each of which reaches the file at once. */
export class MetricsWriter {
  readonly #path: string;
  readonly #file: number;

  /**
   * Starts the file at `path` anew; or, with `resumedStep`, goes on with it after its lines up to that
   * step. Lines of later steps, which the resumed run takes again, are removed, as is a torn last line.
   *
   * @throws ClipsmithError when the file cannot be written, or a line of it cannot be read
   */
  constructor(path: string, { resumedStep }: { readonly resumedStep?: number } = {}) {
    this.#path = path;
    const kept =
      resumedStep === undefined ? [] : readMetrics(path).filter(({ step }) => step <= resumedStep);
    try {
      writeFileSync(`${path}.tmp`, kept.map(toLine).join(""));
      renameSync(`${path}.tmp`, path);
      this.#file = openSync(path, "a");
    } catch (cause) {
      throw cannotWrite(path, cause);
    }
  }

  /** @throws ClipsmithError when the line cannot be written */
  write(metrics: Metrics): void {
    try {
      writeFileSync(this.#file, toLine(metrics));
    } catch (cause) {
      throw cannotWrite(this.#path, cause);
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

/**
 * Reads what a {@link MetricsWriter} wrote; nothing where there is no file. A last line without an end,
 * as a killed process leaves it, is passed over.
 *
 * @throws ClipsmithError with the line's number when another line cannot be read
 */
export function readMetrics(path: string): Metrics[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new ClipsmithError(`Cannot read ${path}: ${messageOf(cause)}.`, { cause });
  }
  const lines = text.split("\n").slice(0, -1);
  return lines.map((line, index) => {
    const metrics = parse(line);
    if (metrics) return metrics;
    throw new ClipsmithError(
      `${path}, line ${index + 1}: expected a JSON object with a step, found ${line.slice(0, 80)}. Remove the line.`,
    );
  });
}

function cannotWrite(path: string, cause: unknown): ClipsmithError {
  return new ClipsmithError(`Cannot write ${path}: ${messageOf(cause)}.`, { cause });
}

function toLine(metrics: Metrics): string {
  return `${JSON.stringify(metrics)}\n`;
}

function parse(line: string): Metrics | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    const fits = typeof parsed === "object" && parsed !== null && "step" in parsed;
    return fits && typeof parsed.step === "number" ? (parsed as Metrics) : undefined;
  } catch {
    return undefined;
  }
}
