import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Sample, StreamSource } from "../data/index.js";
import { solo } from "../distributed/index.js";
import type { ModelConfig } from "../model/index.js";
import { Lock } from "../util/lock.js";
import type { ResolvedTrainingOptions } from "./options.js";
import { resumeRun } from "./resume-run.js";
import { Run, type RunOptions, type TrainResult } from "./run.js";
import { makeFolder, runFiles } from "./run-folder.js";
import { openParts } from "./run-parts.js";
import type { RunStart } from "./run-start.js";
import type { ValidationData } from "./run-validation.js";
import { checkSources, heldSamples, known, learntFrom, leftOutOf, observed } from "./sources.js";
import { type NewRun, startRun } from "./start-run.js";
import { survey } from "./survey.js";

/** A run that is about to take its first step, or to go on. */
export interface StartedRun {
  readonly config: ModelConfig;
  readonly training: ResolvedTrainingOptions;
  /** Steps taken before. */
  readonly step: number;
}

/** What {@link train} is told. */
export interface TrainOptions extends NewRun, RunOptions {
  /** What to train on: samples in memory; or else `sources`. */
  readonly samples?: readonly Sample[];
  /**
   * What to train on: sources read shard by shard, or samples in memory, drawn from in the proportions of
   * `training.sourceWeights`. A run that is resumed needs the same ones in the same order.
   */
  readonly sources?: readonly StreamSource[];
  /** A collection to validate on, in place of `training.validation.part`; a run that is resumed needs the same. */
  readonly validation?: StreamSource;
  /** Called on rank 0 when the folder is ready and all options are known, before the first step. */
  readonly onStart?: (run: StartedRun) => void;
}

/**
 * Trains a model on captioned pictures into the folder `out`: options, tokenizer, checkpoints, metrics
 * a line a step and, in the end, the model.
 *
 * @throws ClipsmithError if options or data are wrong, another process trains into the folder, or the loss
 *   stops being a number; checkpoints stay as they are.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { out, samples, sources: given = samples && [samples] } = options;
  const { communicator = solo() } = options;
  const leads = communicator.rank === 0;
  if (given === undefined) throw new Error("train: give samples or sources");
  const sources = given.map(known);
  // The other ranks wait meanwhile, however long it takes.
  const read = (source: StreamSource) => observed(known(source), () => communicator.atWork());
  const { validation } = options;
  const hold = async (training: ResolvedTrainingOptions) => {
    const data = await heldSamples(sources.map(read), training, validation && read(validation));
    const { skipped } = leftOutOf(validation ? [validation] : []);
    return data && { ...data, skipped: [...skipped, ...data.skipped] };
  };
  let held: ValidationData | undefined;
  const found = new Float64Array(1);
  const data = async (training: ResolvedTrainingOptions, countAll: boolean) => {
    held = await hold(training);
    const learnt = learntFrom(sources.map(read), training);
    const surveyed = await survey(learnt, training.seed, { countAll });
    found[0] = surveyed.samples;
    return surveyed;
  };
  if (leads) {
    if (!options.resume) checkSources(sources, options.training ?? {});
    if (!options.resume || existsSync(out)) await makeFolder(out);
  }
  // Of a folder that is not there, resuming says so.
  const lock =
    leads && existsSync(out)
      ? await Lock.take(join(out, runFiles.lock), `${out} is being trained`)
      : undefined;
  try {
    let start: RunStart | undefined;
    if (leads) {
      start = await (options.resume
        ? resumeRun(out, async (...asked) => (await data(...asked)).samples, options)
        : startRun(out, data, withValidation(options)));
    }
    await communicator.broadcast(found, 0);
    // The other ranks find the run in its folder.
    start ??= await resumeRun(out, async () => found[0]!, options);
    await communicator.barrier();
    const { config, training, checkpoint } = start;
    if (leads) held ??= await hold(training);
    if (leads) options.onStart?.({ config, training, step: checkpoint?.step ?? 0 });
    const runData = { sources: learntFrom(sources, training), held, leftOut: leftOutOf(given) };
    const parts = await openParts(start, runData, options);
    const result = await new Run(start, parts, options, lock).train();
    await communicator.barrier();
    return result;
  } finally {
    await lock?.release();
  }
}

/** A collection to validate on turns validation on. */
function withValidation({ training, ...options }: TrainOptions): TrainOptions {
  return options.validation === undefined
    ? { ...options, ...(training && { training }) }
    : { ...options, training: { validation: {}, ...training } };
}
