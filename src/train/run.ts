import { existsSync } from "node:fs";
import { join } from "node:path";
import { CLIP } from "../clip/index.js";
import type { SkippedSummary } from "../data/index.js";
import { solo } from "../distributed/index.js";
import { modelFiles, saveWeights } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { Lock } from "../util/lock.js";
import { duration } from "../util/progress-line.js";
import { Agreement, type RunView } from "./agreement.js";
import { type BadBatch, BadLossError, BadLosses, faultOf } from "./bad-loss.js";
import type { PreparedBatch } from "./batches.js";
import { NothingToLearnError } from "./equal-pictures.js";
import type { ProgressOptions } from "./progress.js";
import type { RunPosition } from "./readers.js";
import { RunCheckpoints } from "./run-checkpoints.js";
import { RunClock } from "./run-clock.js";
import { openValidation, type RunParts, type RunPartsOptions } from "./run-parts.js";
import { RunReport, silentReport } from "./run-report.js";
import type { RunStart } from "./run-start.js";
import { meanLossAfter, type RunState } from "./run-state.js";
import { isOver, type RunValidation } from "./run-validation.js";
import { decayedLearningRateAt, learningRateAt } from "./schedule.js";
import { planAfter } from "./time-plan.js";

/** A run that was stopped by what can be mended: a full disk, data out of reach. It can be resumed. */
export class StoppedRunError extends ClipsmithError {}

/** How a run is carried out. */
export interface RunOptions extends RunPartsOptions {
  /**
   * Go on with the run in `out`, with its own options but for `checkpointSeconds`, `onBadLoss` and
   * `lossSpike`; default false.
   */
  readonly resume?: boolean;
  /** Stops after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Where progress is shown; default standard error. */
  readonly progress?: Pick<ProgressOptions, "stream">;
}

/** What became of a run. */
export interface TrainResult {
  /** Steps taken since the run's start. */
  readonly steps: number;
  /** Steps of the whole run; of a run by minutes that was stopped, as planned, or undefined before its first plan. */
  readonly totalSteps: number | undefined;
  /** Mean loss of the last steps; NaN if none was left to take. */
  readonly loss: number;
  readonly samplesPerSecond: number;
  /** False if a signal stopped it before its end. */
  readonly finished: boolean;
  /** What could not be used, in all of the run. */
  readonly skipped: SkippedSummary;
}

/** One process's part of a run. */
export class Run {
  readonly #start: RunStart;
  readonly #parts: RunParts;
  readonly #options: RunOptions;
  readonly #state: RunState;
  readonly #firstStep: number;
  readonly #checkpoints: RunCheckpoints;
  readonly #badLosses: BadLosses;
  readonly #report: Pick<RunReport, keyof RunReport>;
  readonly #clock: RunClock;
  readonly #ranks: Agreement;
  /** What the last checkpoint took. */
  #saveSeconds = 0;

  constructor(start: RunStart, parts: RunParts, options: RunOptions, lock: Lock | undefined) {
    const { training, warnings } = start;
    const { clip, step, state } = parts;
    const { out, communicator = solo() } = options;
    this.#ranks = new Agreement(communicator);
    const { leads } = this.#ranks;
    this.#start = start;
    this.#parts = parts;
    this.#options = options;
    this.#state = state;
    this.#firstStep = state.step;
    this.#report = leads
      ? new RunReport(out, state, options.resume ?? false, options.progress)
      : silentReport;
    for (const warning of warnings) this.#report.message(warning);
    this.#checkpoints = new RunCheckpoints(out, clip, step, state.step, lock, leads);
    this.#badLosses = new BadLosses(out, training.onBadLoss, this.#checkpoints, leads);
    this.#clock = new RunClock(60 * training.minutes, state.seconds);
  }

  /** Takes the steps that are left, and makes the model if it was not stopped before. */
  async train(): Promise<TrainResult> {
    const { training } = this.#start;
    const { step, batches, groups } = this.#parts;
    const state = this.#state;
    let validation: RunValidation | undefined;
    try {
      // Somewhere to go back to.
      if (training.onBadLoss === "skip" && !this.#start.checkpoint) await this.#save();
      if (!this.#isLast && this.#ranks.leads) {
        validation = await openValidation(this.#start, this.#parts, this.#options, (warning) =>
          this.#report.message(warning),
        );
      }
      await this.#ranks.check(0, step.weights);
      let view = await this.#view();
      this.#clock.begin();
      while (!view.isLast && !view.isStopped) {
        const { batch, names, position, waitSeconds } = await this.#nextBatch();
        const learningRate = this.#learningRate;
        const result = await step.run(batch, {
          learningRate,
          maxGradientNorm: training.maxGradientNorm,
          skip: groups.frozenAt(state.step),
        });
        const fault = faultOf(result, state.meanLoss, state.step, training.lossSpike);
        if (fault !== undefined) {
          await this.#goBack({ step: state.step + 1, fault, samples: names }, position);
          view = await this.#view();
          continue;
        }
        const logitScale = this.#clampLogitScale();
        step.optimizer.average();
        state.step++;
        state.position = position;
        state.meanLoss = meanLossAfter(state, result.loss);
        const { seconds, sleptSeconds } = this.#clock.step();
        if (sleptSeconds > 0) this.#slept(sleptSeconds);
        this.#plan(validation);
        this.#report.step(state, result, {
          learningRate,
          logitScale,
          samples: this.#start.batchSize,
          seconds,
          waitSeconds,
          secondsLeft: this.#secondsLeft,
          news: [...this.#parts.skipped.news(), ...batches.equalPictures.news()],
        });
        if (validation?.isDue(state.step, this.#isLast)) await this.#validate(validation);
        await this.#ranks.check(state.step, step.weights);
        if (this.#checkpoints.secondsSince > training.checkpointSeconds) await this.#save();
        view = await this.#view();
      }
      if (view.isLast && !this.#hadEnded) {
        for (const line of batches.equalPictures.end()) this.#report.message(line);
      }
      await this.#saveSteps();
      if (view.isLast && this.#ranks.leads && !this.#hadEnded) await this.#saveModel();
      return this.#result(view.isLast);
    } catch (error) {
      throw this.#stoppedBy(error);
    } finally {
      this.#report.close();
      await batches.close();
      await validation?.release();
      await step.release();
    }
  }

  /** Whether to go on, on which all ranks agree. */
  async #view(): Promise<RunView> {
    const isLast = this.#isLast;
    // A signal is looked at once before each step.
    const isStopped = !isLast && (this.#options.signal?.aborted ?? false);
    const { totalSteps, decayed } = this.#state;
    const view = await this.#ranks.view({ isStopped, isLast, totalSteps, decayed });
    this.#state.totalSteps = view.totalSteps;
    this.#state.decayed = view.decayed;
    return view;
  }

  /** Whether no step is left to take. */
  get #isLast(): boolean {
    const { step, totalSteps = Number.POSITIVE_INFINITY, best } = this.#state;
    return step >= totalSteps || isOver(this.#start.training, best);
  }

  /** Whether the run that was resumed had reached its end, and has its model. */
  get #hadEnded(): boolean {
    const { out } = this.#options;
    return this.#state.step === this.#firstStep && existsSync(join(out, modelFiles.weights));
  }

  /** That of the next step. */
  get #learningRate(): number {
    const { schedule, learningRate, warmupSteps, learningRateFloor: floor } = this.#start.training;
    const { step, totalSteps, decayed } = this.#state;
    const options = { schedule, learningRate, warmupSteps, floor };
    return decayed === undefined
      ? learningRateAt(step, { ...options, totalSteps: totalSteps! })
      : decayedLearningRateAt(step, decayed, options);
  }

  /** The next step's batch, and how long it was waited for. */
  async #nextBatch(): Promise<PreparedBatch & { readonly waitSeconds: number }> {
    const asked = performance.now();
    try {
      const prepared = await this.#parts.batches.next();
      return { ...prepared, waitSeconds: (performance.now() - asked) / 1000 };
    } catch (error) {
      // What was learnt so far is kept: data can be mended.
      await this.#saveSteps();
      throw error;
    }
  }

  /** Goes on from the last checkpoint, with the batches after the bad one. */
  async #goBack(bad: BadBatch, position: RunPosition): Promise<void> {
    const state = this.#state;
    const { step, meanLoss, messages } = await this.#badLosses.goBack(bad);
    for (const line of messages) this.#report.message(line);
    state.passedOver += bad.step - step;
    state.step = step;
    state.position = position;
    state.meanLoss = meanLoss;
    this.#report.goBack(step);
    // All have read the checkpoint before it may make room for another.
    await this.#ranks.meet();
    await this.#save();
  }

  /** Keeps the scale's logarithm between 0 and its bound, if it has one; returns the scale. */
  #clampLogitScale(): number {
    const logScale = this.#parts.step.weights.get(CLIP.logitScale)!;
    const { maxLogitScale } = this.#start.training;
    if (maxLogitScale !== null) {
      logScale[0] = Math.min(Math.max(logScale[0]!, 0), Math.log(maxLogitScale));
    }
    return Math.exp(logScale[0]!);
  }

  /** Plans a run by minutes anew, after each step; other ranks are told before the next. */
  #plan(validation: RunValidation | undefined): void {
    const state = this.#state;
    const { step, totalSteps, decayed } = state;
    if (decayed === undefined || !this.#ranks.leads) return;
    const { warmupSteps } = this.#start.training;
    const secondsAPair = this.#clock.secondsAStep / this.#start.batchSize;
    const endSeconds = this.#saveSeconds + (validation?.expectedSeconds(secondsAPair) ?? 0);
    const before = { totalSteps, decayed };
    const plan = planAfter(step, before, this.#clock, { warmupSteps, endSeconds });
    state.totalSteps = plan.totalSteps;
    state.decayed = plan.decayed;
    if (decayed === 0 && plan.decayed > 0 && step < warmupSteps) {
      this.#report.message(
        `Half of the time is over after ${step} of ${warmupSteps} steps of warm-up: the learning ` +
          "rate falls before it has come to its height. Next time, take more --minutes or fewer --warmup-steps.",
      );
    }
  }

  /** Seconds left of a run by minutes. */
  get #secondsLeft(): number | undefined {
    const { decayed } = this.#state;
    if (decayed === undefined) return undefined;
    return this.#isLast ? 0 : Math.max(0, this.#clock.secondsLeft);
  }

  #slept(seconds: number): void {
    this.#report.pause(1000 * seconds);
    this.#report.message(
      `Nothing was done for ${duration(seconds)}, as when a machine sleeps: this time does not count.`,
    );
  }

  /** Validation takes part of the minutes, and is no part of the speed. */
  async #validate(validation: RunValidation): Promise<void> {
    const began = performance.now();
    const report = await validation.run(this.#state.step, this.#parts.step.averagedWeights);
    this.#state.best = validation.best;
    this.#report.validation(report);
    const took = performance.now() - began;
    this.#clock.aside(took);
    this.#report.pause(took);
    if (report.isBest) await this.#save();
  }

  async #save(): Promise<void> {
    const began = performance.now();
    await this.#checkpoints.save({ ...this.#state, seconds: this.#clock.secondsSpent });
    this.#saveSeconds = (performance.now() - began) / 1000;
  }

  /** Saves the steps since the last checkpoint, if there are any. */
  async #saveSteps(): Promise<void> {
    if (this.#state.step > this.#checkpoints.savedStep) await this.#save();
  }

  /** The best weights are those of a checkpoint; where it is damaged, the newest have to do. */
  async #saveModel(): Promise<void> {
    const { out, parts } = this.#options;
    const { step, best } = this.#state;
    let weights = this.#parts.step.averagedWeights;
    try {
      if (best && best.step < step) {
        weights = await this.#checkpoints.weightsAt(best.step);
        this.#report.message(
          `Validation was best after step ${best.step}: the checkpoint of that step is the model.`,
        );
      }
    } catch (error) {
      if (!(error instanceof ClipsmithError)) throw error;
      this.#report.message(
        `${error.message} The model is that of the last step, and not the best one, of step ${best?.step}.`,
      );
    }
    await saveWeights(out, this.#start.config, weights, parts);
  }

  #result(finished: boolean): TrainResult {
    const { step, totalSteps, meanLoss } = this.#state;
    const taken = step - this.#firstStep;
    return {
      steps: step,
      totalSteps,
      loss: taken > 0 ? meanLoss! : Number.NaN,
      samplesPerSecond: (taken * this.#start.batchSize) / this.#clock.secondsTaken,
      finished,
      skipped: this.#parts.skipped.summary,
    };
  }

  /** What to throw where a step threw: of what can be mended, it says what is saved. */
  #stoppedBy(error: unknown): unknown {
    const { step } = this.#state;
    const again = error instanceof BadLossError || error instanceof NothingToLearnError;
    if (step === 0 || again || !(error instanceof ClipsmithError)) return error;
    const { savedStep } = this.#checkpoints;
    return new StoppedRunError(
      `${error.message} Training stopped after step ${step}; ` +
        (savedStep === 0
          ? "nothing was saved yet."
          : `the checkpoint of step ${savedStep} is saved.`),
      { cause: error },
    );
  }
}
