import { join } from "node:path";
import { CLIP } from "../clip/index.js";
import { isInMemory, openStreamAhead, SkipLog, type StreamSource } from "../data/index.js";
import { type Communicator, solo } from "../distributed/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { BatchSource } from "./batches.js";
import type { ParameterGroups } from "./groups.js";
import { ownReaders, readersOf } from "./readers.js";
import { runFiles } from "./run-folder.js";
import { groupsOf, type RunStart } from "./run-start.js";
import { type RunState, runStateSchema } from "./run-state.js";
import { RunValidation, type ValidationData } from "./run-validation.js";
import { checkSources, type LeftOut } from "./sources.js";
import type { NewRun } from "./start-run.js";
import { TrainingStep } from "./step.js";
import { Validation } from "./validation.js";

/** What a run learns from, and what it is validated on. */
export interface RunData {
  readonly sources: readonly StreamSource[];
  readonly held: ValidationData | undefined;
  readonly leftOut: LeftOut;
}

export interface RunPartsOptions extends Pick<NewRun, "parts"> {
  /** Folder of the run; the trained model is there in the end. */
  readonly out: string;
  readonly runtime?: RuntimeOptions;
  /** The ranks that train together; default: this process alone. */
  readonly communicator?: Communicator;
}

/** What a run is made of. */
export interface RunParts {
  readonly clip: CLIP;
  readonly groups: ParameterGroups;
  /** That of the checkpoint it starts from. */
  readonly state: RunState;
  readonly held: ValidationData | undefined;
  readonly skipped: SkipLog;
  readonly batches: BatchSource;
  readonly step: TrainingStep;
}

/**
 * Makes the parts of a run as its options want them.
 *
 * @throws ClipsmithError when too much of the data is left out
 */
export async function openParts(
  start: RunStart,
  { sources, held, leftOut }: RunData,
  { out, parts, runtime, communicator = solo() }: RunPartsOptions,
): Promise<RunParts> {
  const { config, training, batchSize, totalSteps, checkpoint, configuration } = start;
  const clip = new CLIP(config.clip, parts);
  const groups = groupsOf(clip, training);
  const before = runStateSchema.parse(checkpoint?.state ?? {});
  const state: RunState = {
    ...before,
    step: checkpoint?.step ?? 0,
    totalSteps,
    decayed: decayedBefore(start, before),
    batchSize,
    configuration,
  };
  checkSources(sources, training);
  const skipped = new SkipLog(
    join(out, runFiles.skipped),
    {
      rate: training.maxSkippedRate,
      work: "Training",
      option: "training.maxSkippedRate",
      remedy: `allow for more by maxSkippedRate in ${join(out, runFiles.training)}; then go on by --resume`,
    },
    communicator.rank === 0,
  );
  const mend = `Mend them and ${checkpoint ? "go on by --resume" : "start anew by --overwrite"}`;
  skipped.leftOut(leftOut.skipped, leftOut.usable, mend);
  skipped.aside(held?.skipped ?? []);
  const batches = openBatches(start, clip, sources, state, skipped, communicator);
  const step = await compileStep(start, clip, groups, communicator, runtime);
  return { clip, groups, state, held, skipped, batches, step };
}

/** Where a run by minutes stands in its decay; undefined where steps settle that. */
function decayedBefore(
  { training, totalSteps }: RunStart,
  { decayed }: Pick<RunState, "decayed">,
): number | undefined {
  if ((training.steps ?? training.epochs) !== undefined) return undefined;
  // Earlier versions turned minutes into a number of steps once and for all.
  return decayed ?? (totalSteps === undefined ? 0 : undefined);
}

/** The batches of a run's steps from here on. */
function openBatches(
  { config, tokenizer, training, batchSize }: RunStart,
  clip: CLIP,
  sources: readonly StreamSource[],
  { step, passedOver, position }: RunState,
  log: SkipLog,
  communicator: Communicator,
): BatchSource {
  const readers = readersOf(sources, batchSize, training.readers, position, communicator);
  const positions = position && "readers" in position ? position.readers : [position];
  const [first, end] = ownReaders(readers, communicator);
  const streams = Array.from({ length: end - first }, (_, i) => first + i).map((index) =>
    openStreamAhead(
      {
        sources,
        seed: training.seed,
        shuffleBuffer: training.shuffleBuffer,
        reader: { index, count: readers },
        ...(training.sourceWeights && { weights: training.sourceWeights }),
        ...(positions[index] && { position: positions[index] }),
      },
      Math.ceil(batchSize / readers),
    ),
  );
  return new BatchSource({
    streams,
    readers,
    firstStep: step + passedOver,
    clip,
    config,
    tokenizer,
    batchSize,
    chunkSize: training.chunkSize,
    ...(communicator.size > 1 && { communicator }),
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
    log,
    workers: training.workers,
    maxPixels: training.maxPixels,
  });
}

/** A run's step, with what the optimizer remembers. */
async function compileStep(
  { config, weights, training, batchSize, checkpoint }: RunStart,
  clip: CLIP,
  groups: ParameterGroups,
  communicator: Communicator,
  runtime: RuntimeOptions | undefined,
): Promise<TrainingStep> {
  const { betas, epsilon, weightDecay, ema } = training;
  const { freezeImageEncoder, freezeTextEncoder } = training;
  const step = await TrainingStep.compile({
    clip,
    batchSize,
    textLength: config.clip.textSeqLen,
    augTexts: training.augTexts,
    augImages: training.augImages,
    weights,
    optimizer: {
      kind: training.optimizer,
      betas,
      epsilon,
      weightDecay,
      learningRateFactor: (name) => groups.factorOf(name),
      ...(ema !== undefined && { ema }),
    },
    frozen: groups.frozen,
    ...(training.chunkSize !== undefined && { chunkSize: training.chunkSize }),
    tileSize: training.tileSize,
    communicator,
    loss: { freezeImageEncoder, freezeTextEncoder },
    ...(runtime && { runtime }),
  });
  if (checkpoint) step.optimizer.restore(checkpoint.tensors);
  return step;
}

/**
 * A run's validation, if it has one; `warn` is told of samples that cannot be read. The other ranks wait
 * while it is at work.
 */
export async function openValidation(
  { config, tokenizer, training, batchSize }: RunStart,
  { clip, held, state, skipped }: RunParts,
  { runtime, communicator = solo() }: Pick<RunPartsOptions, "runtime" | "communicator">,
  warn: (warning: string) => void,
): Promise<RunValidation | undefined> {
  if (held === undefined) return undefined;
  const validation = await Validation.open({
    clip,
    config,
    tokenizer,
    samples: held.samples,
    maxPixels: training.maxPixels,
    batchSize,
    ...(runtime && { runtime }),
    onBatch: () => communicator.atWork(),
  });
  skipped.aside(validation.skipped);
  for (const { where, reason } of validation.skipped) {
    const what = reason.includes(where) ? "a picture" : where;
    warn(`Left ${what} out of validation: ${reason}`);
  }
  return new RunValidation(validation, training, state.best);
}
