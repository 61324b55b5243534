import { appendFileSync } from "node:fs";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import type { StepResult } from "./step.js";

/** A loss is compared with its mean from this step of a run on: before, it falls steeply. */
const SETTLED_STEPS = 50;
/** Times in a row that a run goes back to the same checkpoint. */
export const MAX_RETURNS = 5;

/** A run that stopped by itself, and would do so again. */
export class BadLossError extends ClipsmithError {}

/** A batch that a run stopped at, or went past. */
export interface BadBatch {
  /** Counted from 1. */
  readonly step: number;
  /** What was wrong, such as "loss is NaN". */
  readonly fault: string;
  /** Names of its samples. */
  readonly samples: readonly string[];
}

/**
 * What is wrong with a step's loss or gradients; undefined for nothing.
 *
 * @param mean the running mean of the losses of the `steps` steps before
 * @param spike how many times the mean is too much; undefined: any finite loss will do
 */
export function faultOf(
  { loss, gradientNorm }: Pick<StepResult, "loss" | "gradientNorm">,
  mean: number | undefined,
  steps: number,
  spike: number | undefined,
): string | undefined {
  if (!Number.isFinite(loss)) return `loss is ${loss}`;
  if (!Number.isFinite(gradientNorm)) return `gradients are not finite (loss ${loss})`;
  if (spike === undefined || mean === undefined || steps < SETTLED_STEPS) return undefined;
  if (loss <= spike * mean) return undefined;
  return `loss is ${loss.toPrecision(4)}, more than ${spike} times its mean of late, ${mean.toPrecision(4)}`;
}

/** Adds a line of JSON to `path`, and says which samples the batch was made of: some, and where all are. */
export function recordBadBatch(path: string, bad: BadBatch): string {
  try {
    appendFileSync(path, `${JSON.stringify(bad)}\n`);
  } catch (cause) {
    throw new ClipsmithError(`Cannot write ${path}: ${messageOf(cause)}.`, { cause });
  }
  return `The batch was ${namesOf(bad.samples, 3)} (all are named in ${path}).`;
}
