import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import type { ResolvedTrainingOptions } from "./options.js";
import type { RunCheckpoints } from "./run-checkpoints.js";
import { runFiles } from "./run-folder.js";
import { runStateSchema } from "./run-state.js";
import type { StepResult } from "./step.js";

/** A loss is compared with its mean from this step of a run on: before, it falls steeply. */
const SETTLED_STEPS = 50;
/** Times in a row that a run goes back to the same checkpoint. */
const MAX_RETURNS = 5;

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

/**
 * Adds a line of JSON to `path`, and says which samples the batch was made of: some, and where all are.
 *
 * @param writes false where another rank adds the line
 */
export function recordBadBatch(path: string, bad: BadBatch, writes = true): string {
  try {
    if (writes) appendFileSync(path, `${JSON.stringify(bad)}\n`);
  } catch (cause) {
    throw new ClipsmithError(`Cannot write ${path}: ${messageOf(cause)}.`, { cause });
  }
  return `The batch was ${namesOf(bad.samples, 3)} (all are named in ${path}).`;
}

/** Where a run goes on after a bad batch. */
export interface WentBack {
  /** The step of the checkpoint that was taken up, and the mean loss at it. */
  readonly step: number;
  readonly meanLoss: number | undefined;
  /** For people. */
  readonly messages: readonly string[];
}

/** What a run does at a bad batch: it stops, or goes back to its last checkpoint. */
export class BadLosses {
  readonly #run: string;
  readonly #action: ResolvedTrainingOptions["onBadLoss"];
  readonly #checkpoints: RunCheckpoints;
  readonly #writes: boolean;
  /** The step it last went back to, and how often in a row. */
  #back = { step: -1, times: 0 };

  /**
   * @param run the run's folder, which keeps a record of bad batches
   * @param writes false where another rank keeps it
   */
  constructor(
    run: string,
    action: ResolvedTrainingOptions["onBadLoss"],
    checkpoints: RunCheckpoints,
    writes = true,
  ) {
    this.#writes = writes;
    this.#run = run;
    this.#action = action;
    this.#checkpoints = checkpoints;
  }

  /**
   * Takes up the last checkpoint after a bad batch.
   *
   * @throws BadLossError where that is not asked for, or has been of no use
   */
  async goBack(bad: BadBatch): Promise<WentBack> {
    const what = `step ${bad.step}: the ${bad.fault}.`;
    const batch = recordBadBatch(join(this.#run, runFiles.badBatches), bad, this.#writes);
    if (this.#action === "stop") {
      throw new BadLossError(
        `Training stopped at ${what} ${batch} Checkpoints saved before are kept. Past a batch that is bad ` +
          "by itself it goes on by --resume --set training.onBadLoss=skip. " +
          "Otherwise start again with a lower --learning-rate and --overwrite.",
      );
    }
    const { latest, warnings } = await this.#checkpoints.latest();
    const { step } = latest;
    this.#back = { step, times: step === this.#back.step ? this.#back.times + 1 : 1 };
    if (this.#back.times > MAX_RETURNS) {
      throw new BadLossError(
        `Training stopped at ${what} ${batch} It had gone back to step ${step} ${MAX_RETURNS} ` +
          "times, past other batches each time. Start again with a lower --learning-rate and --overwrite.",
      );
    }
    this.#checkpoints.restore(latest);
    const { meanLoss } = runStateSchema.parse(latest.state);
    const messages = [...warnings, `Bad ${what} Going back to step ${step}. ${batch}`];
    return { step, meanLoss, messages };
  }
}
