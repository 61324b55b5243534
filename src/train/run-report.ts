import { Progress, type ProgressOptions } from "./progress.js";
import { RunMetrics } from "./run-metrics.js";
import type { RunState } from "./run-state.js";
import type { ValidationReport } from "./run-validation.js";
import type { StepResult } from "./step.js";

/** What {@link RunReport.step} is told of a step beside its result. */
export interface StepFigures {
  readonly learningRate: number;
  readonly logitScale: number;
  /** Samples that it learnt from. */
  readonly samples: number;
  /** Seconds since the step before. */
  readonly seconds: number;
  /** Seconds of these that it waited for its samples. */
  readonly waitSeconds: number;
  /** Seconds left of a run by minutes. */
  readonly secondsLeft?: number | undefined;
  /** Lines on what could not be used. */
  readonly news: readonly string[];
}

/** Tells what becomes of a run: in its folder, and to who is watching. */
export class RunReport {
  readonly #run: string;
  readonly #progress: Progress;
  #metrics: RunMetrics;

  /**
   * @param run the run's folder
   * @param resume whether its metrics go on after the steps taken, or start anew
   * @throws ClipsmithError when metrics cannot be read or written
   */
  constructor(
    run: string,
    { step, totalSteps }: RunState,
    resume: boolean,
    progress: Pick<ProgressOptions, "stream"> = {},
  ) {
    this.#run = run;
    this.#metrics = new RunMetrics(run, resume ? { resumedStep: step } : {});
    this.#progress = new Progress({ totalSteps, startStep: step, ...progress });
  }

  message(text: string): void {
    this.#progress.message(text);
  }

  /** Call after each step. */
  step(
    { step, meanLoss, totalSteps, decayed }: RunState,
    { terms, ...result }: StepResult,
    figures: StepFigures,
  ): void {
    const { samples, seconds, waitSeconds, secondsLeft, learningRate, logitScale } = figures;
    const isPlanned = decayed !== undefined && totalSteps !== undefined;
    this.#metrics.write({
      step,
      ...result,
      ...(Object.keys(terms).length > 1 ? terms : {}),
      learningRate,
      ...(isPlanned && { plannedSteps: totalSteps }),
      logitScale,
      samplesPerSecond: rounded(samples / seconds),
      dataWaitSeconds: rounded(waitSeconds),
      rssMB: Math.round(process.memoryUsage.rss() / 1e6),
    });
    for (const line of figures.news) this.message(line);
    if (isPlanned) this.#progress.totalSteps = totalSteps;
    this.#progress.update({
      step,
      loss: meanLoss!,
      samples,
      dataWaitSeconds: waitSeconds,
      ...(secondsLeft !== undefined && { secondsLeft }),
    });
  }

  validation({ metrics, message }: ValidationReport): void {
    this.#metrics.write(metrics);
    this.message(message);
  }

  /** Leaves time that was spent on something else than steps out of the speed. */
  pause(milliseconds: number): void {
    this.#progress.pause(milliseconds);
  }

  /** Forgets the metrics after a step, which is to be taken again. */
  goBack(step: number): void {
    this.#metrics.close();
    this.#metrics = new RunMetrics(this.#run, { resumedStep: step });
  }

  /** Needed after a failure too. */
  close(): void {
    this.#progress.stop();
    this.#metrics.close();
  }
}

/** Where another rank tells of the same run. */
export const silentReport: Pick<RunReport, keyof RunReport> = {
  message: () => {},
  step: () => {},
  validation: () => {},
  pause: () => {},
  goBack: () => {},
  close: () => {},
};

/** To three digits: nobody measures time more exactly. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
