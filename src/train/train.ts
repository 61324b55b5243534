import { existsSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { CLIP } from "../clip/index.js";
import {
  inMemory,
  isInMemory,
  openStreamAhead,
  type Sample,
  type SourceSample,
  type StreamSource,
  takePart,
} from "../data/index.js";
import { type ModelConfig, modelFiles, saveWeights } from "../model/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { ClipsmithError } from "../util/errors.js";
import { type BadBatch, BadLossError, faultOf, MAX_RETURNS, recordBadBatch } from "./bad-loss.js";
import { BatchSource } from "./batches.js";
import {
  type Checkpoint,
  checkpointPath,
  latestCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "./checkpoint.js";
import type { ParameterGroups } from "./groups.js";
import type { ResolvedTrainingOptions, TrainingOptions } from "./options.js";
import { Progress, type ProgressOptions } from "./progress.js";
import {
  checkpointStateSchema,
  groupsOf,
  makeFolder,
  type NewRun,
  type RunStart,
  resumeRun,
  runFiles,
  startRun,
} from "./run.js";
import { RunLock } from "./run-lock.js";
import { RunMetrics } from "./run-metrics.js";
import { checkValidation, isOver, RunValidation, validationSamples } from "./run-validation.js";
import { learningRateAt } from "./schedule.js";
import { SkipLog, type SkippedSummary } from "./skip-log.js";
import { TrainingStep } from "./step.js";
import { survey } from "./survey.js";
import { Validation } from "./validation.js";

/** A run that is about to take its first step, or to go on. */
export interface StartedRun {
  readonly config: ModelConfig;
  readonly training: ResolvedTrainingOptions;
  /** Steps taken before. */
  readonly step: number;
}

/** A run that was stopped by what can be mended: a full disk, data out of reach. It can be resumed. */
export class StoppedRunError extends ClipsmithError {}

/** What {@link train} is told. */
export interface TrainOptions extends NewRun {
  /** Folder of the run; the trained model is there in the end. */
  readonly out: string;
  /** What to train on: samples in memory; or else `sources`. */
  readonly samples?: readonly Sample[];
  /**
   * What to train on: sources read shard by shard, or samples in memory, drawn from in the proportions of
   * `training.sourceWeights`. A run that is resumed needs the same ones in the same order.
   */
  readonly sources?: readonly StreamSource[];
  /** A collection to validate on, in place of `training.validation.part`; a run that is resumed needs the same. */
  readonly validation?: StreamSource;
  /**
   * Go on with the run in `out`, with its own options but for `checkpointSeconds`, `onBadLoss` and
   * `lossSpike`; default false.
   */
  readonly resume?: boolean;
  readonly runtime?: RuntimeOptions;
  /** Stops after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Where progress is shown; default standard error. */
  readonly progress?: Pick<ProgressOptions, "stream">;
  /** Called when the folder is ready and all options are known, before the first step. */
  readonly onStart?: (run: StartedRun) => void;
}

/** What became of a run. */
export interface TrainResult {
  /** Steps taken since the run's start. */
  readonly steps: number;
  /** Steps of the whole run; undefined if it was stopped before it had timed the first ones. */
  readonly totalSteps: number | undefined;
  /** Mean loss of the last steps; NaN if none was left to take. */
  readonly loss: number;
  readonly samplesPerSecond: number;
  /** False if a signal stopped it before its end. */
  readonly finished: boolean;
  /** What could not be used, in all of the run. */
  readonly skipped: SkippedSummary;
}

/** Minutes become a number of steps after this many steps at least ... */
const TIMED_STEPS = 8;
/** ... and this part of the time, by the last ones: those with pictures still to decode are slow. */
const TIMED_PART = 0.2;
/** The reported loss is a running mean over about this many steps. */
const LOSS_STEPS = 50;

/**
 * Trains a model on captioned pictures into the folder `out`: options, tokenizer, checkpoints, metrics
 * a line a step and, in the end, the model.
 *
 * @throws ClipsmithError if options or data are wrong, another process trains into the folder, or the loss
 *   stops being a number; checkpoints stay as they are.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { out, samples, sources: given = samples && [samples] } = options;
  if (given === undefined) throw new Error("train: give samples or sources");
  const sources = given.map(known);
  let held: readonly SourceSample[] | undefined;
  const data = async (training: ResolvedTrainingOptions, countAll: boolean) => {
    held = await heldSamples(sources, training, options.validation);
    return survey(learntFrom(sources, training), training.seed, { countAll });
  };
  if (!options.resume) {
    checkSources(sources, options.training ?? {});
    await makeFolder(out);
  }
  // Of a folder that is not there, resuming says so.
  const lock = existsSync(out) ? await RunLock.take(out) : undefined;
  try {
    const start = options.resume
      ? await resumeRun(out, async (...asked) => (await data(...asked)).samples, options)
      : await startRun(out, data, withValidation(options));
    const { config, training, checkpoint } = start;
    held ??= await heldSamples(sources, training, options.validation);
    options.onStart?.({ config, training, step: checkpoint?.step ?? 0 });
    return await new Run(start, learntFrom(sources, training), held, options, lock).train();
  } finally {
    await lock?.release();
  }
}

/** Throws ClipsmithError where options ask of the sources what they cannot do. */
function checkSources(
  sources: readonly StreamSource[],
  { blend = 0, epochs, sourceWeights }: TrainingOptions,
): void {
  if (epochs !== undefined && sources.length > 1) {
    throw new ClipsmithError(
      "training.epochs counts passes over one collection, but several are drawn from by weight. Say how " +
        "long to train by minutes or steps.",
    );
  }
  if (blend > 0 && !sources.every(isInMemory)) {
    throw new ClipsmithError(
      "training.blend mixes pictures that have the same captions, so all must be known beforehand: it " +
        "works with folders and lists, and not with shards. Leave it out.",
    );
  }
  if (sourceWeights !== undefined && sourceWeights.length !== sources.length) {
    throw new ClipsmithError(
      `training.sourceWeights has ${sourceWeights.length} weights, but there are ${sources.length} ` +
        "sources: give one for each.",
    );
  }
}

/** A source's samples, where they have been read already. */
function known(source: StreamSource): StreamSource {
  return isInMemory(source) ? source : (inMemory(source)?.samples ?? source);
}

/** A collection to validate on turns validation on. */
function withValidation({ training, ...options }: TrainOptions): TrainOptions {
  return options.validation === undefined
    ? { ...options, ...(training && { training }) }
    : { ...options, training: { validation: {}, ...training } };
}

/** What to validate on, if anything. */
async function heldSamples(
  sources: readonly StreamSource[],
  training: ResolvedTrainingOptions,
  collection: StreamSource | undefined,
): Promise<readonly SourceSample[] | undefined> {
  checkValidation(training, collection !== undefined);
  if (training.validation === undefined) return undefined;
  const { part, samples } = training.validation;
  return validationSamples(collection ? [known(collection)] : sources, samples, part);
}

/** The sources without what is held out of them. */
function learntFrom(
  sources: readonly StreamSource[],
  { validation }: Pick<ResolvedTrainingOptions, "validation">,
): readonly StreamSource[] {
  const part = validation?.part;
  return part === undefined ? sources : sources.map((source) => takePart(source, part, false));
}

/** One process's part of a run. */
class Run {
  readonly #start: RunStart;
  readonly #options: TrainOptions;
  readonly #held: readonly SourceSample[] | undefined;
  readonly #lock: RunLock | undefined;
  readonly #clip: CLIP;
  readonly #groups: ParameterGroups;
  readonly #batchSize: number;
  readonly #source: BatchSource;
  readonly #skipped: SkipLog;
  readonly #firstStep: number;
  readonly #state: z.output<typeof checkpointStateSchema>;

  constructor(
    start: RunStart,
    sources: readonly StreamSource[],
    held: readonly SourceSample[] | undefined,
    options: TrainOptions,
    lock: RunLock | undefined,
  ) {
    const { training, batchSize } = start;
    this.#start = start;
    this.#options = options;
    this.#held = held;
    this.#lock = lock;
    this.#clip = new CLIP(start.config.clip, options.parts);
    this.#groups = groupsOf(this.#clip, training);
    this.#batchSize = batchSize;
    this.#firstStep = start.checkpoint?.step ?? 0;
    this.#state = checkpointStateSchema.parse(start.checkpoint?.state ?? {});
    checkSources(sources, training);
    this.#skipped = new SkipLog(join(options.out, runFiles.skipped), training.maxSkippedRate);
    this.#source = new BatchSource({
      stream: openStreamAhead(
        {
          sources,
          seed: training.seed,
          shuffleBuffer: training.shuffleBuffer,
          ...(training.sourceWeights && { weights: training.sourceWeights }),
          ...(this.#state.position && { position: this.#state.position }),
        },
        batchSize,
      ),
      firstStep: this.#firstStep + this.#state.passedOver,
      clip: this.#clip,
      config: start.config,
      tokenizer: start.tokenizer,
      batchSize,
      seed: training.seed,
      augment: training.augment,
      sslAugment: training.sslAugment,
      captionChanges: {
        wordDropout: training.wordDropout,
        templates: training.captionTemplates,
      },
      textAugment: training.textAugment,
      augTexts: training.augTexts,
      augImages: training.augImages,
      excludeDuplicates: training.excludeDuplicates,
      blend: training.blend,
      blended: sources.filter(isInMemory).flat(),
      log: this.#skipped,
      workers: training.workers,
      maxPixels: training.maxPixels,
    });
  }

  async train(): Promise<TrainResult> {
    const { training, warnings } = this.#start;
    const state = this.#state;
    const step = await this.#compile();
    let metrics = new RunMetrics(this.#options.out, {
      ...(this.#options.resume && { resumedStep: this.#firstStep }),
    });
    let { totalSteps } = this.#start;
    let best = state.best;
    const progress = new Progress({
      totalSteps,
      startStep: this.#firstStep,
      ...this.#options.progress,
    });
    for (const warning of warnings) progress.message(warning);

    const { signal } = this.#options;
    const learningRate = (at: number) =>
      learningRateAt(at, {
        schedule: training.schedule,
        learningRate: training.learningRate,
        warmupSteps: training.warmupSteps,
        totalSteps: totalSteps ?? Number.POSITIVE_INFINITY,
        floor: training.learningRateFloor,
      });
    const started = performance.now();
    let timed = started;
    let lastTime = started;
    const stepTimes: number[] = [];
    let at = this.#firstStep;
    let { position, passedOver, meanLoss: loss } = state;
    let saved = { time: started, step: at };
    /** How often it went back to that checkpoint. */
    let returns = 0;
    /** Of validation, which is no training: neither minutes nor speed count it. */
    let pausedMs = 0;
    const secondsTaken = () => (performance.now() - started - pausedMs) / 1000;
    const secondsSpent = () => state.seconds + secondsTaken();
    const isLast = () => at >= (totalSteps ?? Number.POSITIVE_INFINITY) || isOver(training, best);
    const save = async () => {
      const seconds = secondsSpent();
      const learnt = { position, passedOver, meanLoss: loss, best };
      await this.#save(step, at, { totalSteps, seconds, ...learnt });
      if (at > saved.step) returns = 0;
      saved = { time: performance.now(), step: at };
    };
    let validation: RunValidation | undefined;
    try {
      // Somewhere to go back to.
      if (training.onBadLoss === "skip" && !this.#start.checkpoint) await save();
      if (!isLast()) validation = await this.#openValidation(progress);
      while (!isLast() && !signal?.aborted) {
        const asked = performance.now();
        const prepared = await this.#source.next().catch(async (error: unknown) => {
          // What was learnt so far is kept: data can be mended.
          if (at > saved.step) await save();
          throw error;
        });
        const dataWaitSeconds = (performance.now() - asked) / 1000;
        const rate = learningRate(at);
        const result = await step.run(prepared.batch, {
          learningRate: rate,
          maxGradientNorm: training.maxGradientNorm,
          skip: this.#groups.frozenAt(at),
        });
        const fault = faultOf(result, loss, at, training.lossSpike);
        if (fault !== undefined) {
          const bad = { step: at + 1, fault, samples: prepared.names };
          const back = await this.#goBack(step, bad, ++returns);
          for (const line of back.messages) progress.message(line);
          passedOver += at + 1 - back.step;
          at = back.step;
          position = prepared.position;
          loss = back.meanLoss;
          metrics.close();
          metrics = new RunMetrics(this.#options.out, { resumedStep: at });
          await save();
          continue;
        }
        const logitScale = this.#clampLogitScale(step);
        step.optimizer.average();
        at++;
        position = prepared.position;
        loss = average(loss, result.loss, at);
        const { terms, ...figures } = result;
        const parts = Object.keys(terms).length > 1 ? terms : {};
        const time = performance.now();
        metrics.write({
          step: at,
          ...figures,
          ...parts,
          learningRate: rate,
          logitScale,
          samplesPerSecond: rounded((1000 * this.#batchSize) / (time - lastTime)),
          dataWaitSeconds: rounded(dataWaitSeconds),
          rssMB: Math.round(process.memoryUsage.rss() / 1e6),
        });
        lastTime = time;

        const taken = at - this.#firstStep;
        if (totalSteps === undefined) {
          const now = performance.now();
          stepTimes.push((now - timed) / 1000);
          timed = now;
          const seconds = training.minutes * 60;
          const spent = secondsSpent();
          if (taken >= TIMED_STEPS && spent >= TIMED_PART * seconds) {
            const stepSeconds = median(stepTimes.slice(-TIMED_STEPS));
            totalSteps = at + Math.max(0, Math.round((seconds - spent) / stepSeconds));
            progress.totalSteps = totalSteps;
          }
        }
        for (const line of this.#skipped.news()) progress.message(line);
        progress.update({ step: at, loss, samples: this.#batchSize, dataWaitSeconds });
        if (validation?.isDue(at, isLast())) {
          const began = performance.now();
          const report = await validation.run(at, step.averagedWeights);
          best = validation.best;
          metrics.write(report.metrics);
          progress.message(report.message);
          const took = performance.now() - began;
          pausedMs += took;
          timed += took;
          lastTime += took;
          progress.pause(took);
          if (report.isBest) await save();
        }
        if (performance.now() - saved.time > training.checkpointSeconds * 1000) await save();
      }
      const finished = isLast();
      if (at > saved.step) await save();
      const hadEnded =
        at === this.#firstStep && existsSync(join(this.#options.out, modelFiles.weights));
      if (finished && !hadEnded) {
        const bestStep = best && best.step < at ? best.step : undefined;
        await this.#saveModel(step, bestStep, (message) => progress.message(message));
      }
      const seconds = secondsTaken();
      return {
        steps: at,
        totalSteps,
        loss: at > this.#firstStep ? loss! : Number.NaN,
        samplesPerSecond: ((at - this.#firstStep) * this.#batchSize) / seconds,
        finished,
        skipped: this.#skipped.summary,
      };
    } catch (error) {
      const again = error instanceof BadLossError;
      if (at === 0 || again || !(error instanceof ClipsmithError)) throw error;
      throw new StoppedRunError(
        `${error.message} Training stopped after step ${at}; ` +
          (saved.step === 0 ? "nothing was saved yet." : `that of step ${saved.step} is saved.`),
        { cause: error },
      );
    } finally {
      progress.stop();
      metrics.close();
      await this.#source.close();
      await validation?.release();
      await step.release();
    }
  }

  /** Nothing if the run has no validation. */
  async #openValidation(progress: Progress): Promise<RunValidation | undefined> {
    const { training, config, tokenizer } = this.#start;
    const { runtime } = this.#options;
    if (this.#held === undefined) return undefined;
    const validation = await Validation.open({
      clip: this.#clip,
      config,
      tokenizer,
      samples: this.#held,
      maxPixels: training.maxPixels,
      batchSize: this.#batchSize,
      ...(runtime && { runtime }),
    });
    for (const { reason } of validation.skipped) {
      progress.message(`Left a picture out of validation. ${reason}`);
    }
    return new RunValidation(validation, training, this.#state.best);
  }

  async #compile(): Promise<TrainingStep> {
    const { weights, training, config, checkpoint } = this.#start;
    const { betas, epsilon, weightDecay, ema } = training;
    const { freezeImageEncoder, freezeTextEncoder } = training;
    const step = await TrainingStep.compile({
      clip: this.#clip,
      batchSize: this.#batchSize,
      textLength: config.clip.textSeqLen,
      augTexts: training.augTexts,
      augImages: training.augImages,
      weights,
      optimizer: {
        kind: training.optimizer,
        betas,
        epsilon,
        weightDecay,
        learningRateFactor: (name) => this.#groups.factorOf(name),
        ...(ema !== undefined && { ema }),
      },
      frozen: this.#groups.frozen,
      loss: { freezeImageEncoder, freezeTextEncoder },
      ...(this.#options.runtime && { runtime: this.#options.runtime }),
    });
    if (checkpoint) step.optimizer.restore(checkpoint.tensors);
    return step;
  }

  /** Keeps the scale's logarithm between 0 and its bound, if it has one; returns the scale. */
  #clampLogitScale(step: TrainingStep): number {
    const logScale = step.weights.get(CLIP.logitScale)!;
    const { maxLogitScale } = this.#start.training;
    if (maxLogitScale !== null) {
      logScale[0] = Math.min(Math.max(logScale[0]!, 0), Math.log(maxLogitScale));
    }
    return Math.exp(logScale[0]!);
  }

  /**
   * Takes up the last checkpoint after a bad batch. Where that is not asked for, or has been of no use, it
   * throws BadLossError.
   */
  async #goBack(step: TrainingStep, bad: BadBatch, returns: number) {
    const { out } = this.#options;
    const what = `step ${bad.step}: the ${bad.fault}.`;
    const batch = recordBadBatch(join(out, runFiles.badBatches), bad);
    if (this.#start.training.onBadLoss === "stop") {
      throw new BadLossError(
        `Training stopped at ${what} ${batch} Checkpoints saved before are kept. Past a batch that is bad ` +
          "by itself it goes on by --resume --set training.onBadLoss=skip. " +
          "Otherwise start again with a lower --learning-rate and --overwrite.",
      );
    }
    const { latest, warnings } = await latestCheckpoint(join(out, runFiles.checkpoints));
    if (!latest) throw new ClipsmithError(`${out} has lost its checkpoints.`);
    if (returns > MAX_RETURNS) {
      throw new BadLossError(
        `Training stopped at ${what} ${batch} It had gone back to step ${latest.step} ${MAX_RETURNS} ` +
          "times, past other batches each time. Start again with a lower --learning-rate and --overwrite.",
      );
    }
    this.#restore(step, latest);
    const messages = [...warnings, `Bad ${what} Going back to step ${latest.step}. ${batch}`];
    const { meanLoss } = checkpointStateSchema.parse(latest.state);
    return { step: latest.step, meanLoss, messages };
  }

  #restore(step: TrainingStep, { tensors }: Checkpoint): void {
    step.optimizer.restore(tensors);
    for (const [name, values] of step.weights) {
      values.set(tensors.get(name)!.data);
    }
  }

  async #save(
    step: TrainingStep,
    at: number,
    state: Omit<z.output<typeof checkpointStateSchema>, "batchSize" | "configuration">,
  ): Promise<void> {
    const tensors = new Map(step.optimizer.state());
    for (const [name, data] of step.weights) {
      tensors.set(name, { shape: this.#clip.parameters.get(name)!.shape, data });
    }
    const folder = join(this.#options.out, runFiles.checkpoints);
    const { configuration } = this.#start;
    await this.#lock?.check();
    await saveCheckpoint(
      folder,
      { step: at, tensors, state: { ...state, batchSize: this.#batchSize, configuration } },
      state.best === undefined ? {} : { best: state.best.step },
    );
  }

  /**
   * @param best the step of the checkpoint to make it of; left out, or where that is damaged: it is made of
   *   the newest weights.
   */
  async #saveModel(
    step: TrainingStep,
    best: number | undefined,
    tell: (message: string) => void,
  ): Promise<void> {
    const { out, parts } = this.#options;
    let weights = step.averagedWeights;
    try {
      if (best !== undefined) {
        weights = await this.#weightsAt(best);
        tell(`Validation was best after step ${best}: the checkpoint of that step is the model.`);
      }
    } catch (error) {
      if (!(error instanceof ClipsmithError)) throw error;
      tell(
        `${error.message} The model is that of the last step, and not the best one, of step ${best}.`,
      );
    }
    await saveWeights(out, this.#start.config, weights, parts);
  }

  /** The weights in a checkpoint, or their running means where it has such. */
  async #weightsAt(step: number): Promise<ReadonlyMap<string, Float32Array>> {
    const folder = join(this.#options.out, runFiles.checkpoints);
    const { tensors } = await loadCheckpoint(checkpointPath(folder, step));
    const weights = new Map<string, Float32Array>();
    for (const name of this.#clip.parameters.keys()) {
      const { data } = (tensors.get(`ema.${name}`) ?? tensors.get(name))!;
      weights.set(name, data as Float32Array);
    }
    return weights;
  }
}

/** A running mean: over all values at first, over about {@link LOSS_STEPS} later. */
function average(mean: number | undefined, value: number, count: number): number {
  const weight = 1 / Math.min(count, LOSS_STEPS);
  return mean === undefined ? value : mean + weight * (value - mean);
}

/** To three digits: nobody measures time more exactly. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
