import { createReadStream, existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { modelFiles } from "../model/index.js";
import { newestState } from "../train/checkpoint.js";
import { runFiles } from "../train/index.js";
import type { ReportData, ReportSkipped } from "./data.js";
import { MetricsFollower, parseObject } from "./follow.js";

/** Figures of the finished model, as `clipsmith eval` keeps them. */
const FIGURES = "metrics.json";
/** Causes of skipping that are listed, and examples. */
const LISTED = 8;

const checkpointState = z.object({ totalSteps: z.int().positive() });
const skippedLine = z.object({ where: z.string(), reason: z.string(), cause: z.string() });

/** A run's folder, read again and again while the run may be under way. */
export class FollowedRun {
  readonly #folder: string;
  readonly #metrics: MetricsFollower;

  constructor(folder: string) {
    this.#folder = folder;
    this.#metrics = new MetricsFollower(join(folder, runFiles.metrics));
  }

  /** The run's metrics, and the figures of the finished model. Files that aren't there yet count as empty. */
  async metrics(): Promise<Pick<ReportData, "history" | "final">> {
    const [history, final] = await Promise.all([this.#metrics.rows(), this.#object(FIGURES)]);
    return final === undefined ? { history } : { history, final };
  }

  /** All that a report says but for what the model finds. */
  async report(): Promise<Omit<ReportData, "retrievals">> {
    const [metrics, model, training, state, skipped] = await Promise.all([
      this.metrics(),
      this.#object(modelFiles.config),
      this.#object(runFiles.training),
      newestState(join(this.#folder, runFiles.checkpoints)),
      readSkipped(join(this.#folder, runFiles.skipped)),
    ]);
    const { data = { totalSteps: training?.steps } } = checkpointState.safeParse(state);
    // A run by minutes is planned anew after each step.
    const planned = metrics.history.findLast((row) => "plannedSteps" in row)?.plannedSteps;
    const totalSteps = planned ?? data.totalSteps;
    return {
      title: basename(resolve(this.#folder)),
      time: new Date().toISOString(),
      finished: existsSync(join(this.#folder, modelFiles.weights)),
      ...(typeof totalSteps === "number" && { totalSteps }),
      ...metrics,
      settings: { ...(training && { training }), ...(model && { model }) },
      ...(skipped && { skipped }),
    };
  }

  async #object(name: string): Promise<Readonly<Record<string, unknown>> | undefined> {
    const text = await readFile(join(this.#folder, name), "utf8").catch(ifMissing);
    return text === undefined ? undefined : parseObject(text);
  }
}

/** Counts what a run left out; undefined for nothing. */
async function readSkipped(path: string): Promise<ReportSkipped | undefined> {
  if (!existsSync(path)) return undefined;
  const causes = new Map<string, number>();
  const examples: { where: string; reason: string }[] = [];
  let count = 0;
  for await (const text of createInterface({
    input: createReadStream(path),
    crlfDelay: Infinity,
  })) {
    const { data } = skippedLine.safeParse(parseObject(text));
    if (data === undefined) continue;
    const { where, reason, cause } = data;
    count++;
    causes.set(cause, (causes.get(cause) ?? 0) + 1);
    if (examples.length < LISTED) examples.push({ where, reason });
  }
  if (count === 0) return undefined;
  const commonest = [...causes].sort(([, a], [, b]) => b - a).slice(0, LISTED);
  return { count, causes: commonest, examples };
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
