import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CLIP } from "../clip/index.js";
import { loadDescription, modelFiles } from "../model/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { latestCheckpoint } from "./checkpoint.js";
import { compareConfigurations, configurationOf } from "./configuration.js";
import { Init } from "./init.js";
import {
  changeableOptions,
  type ResolvedTrainingOptions,
  type TrainingOptions,
  trainingOptionsSchema,
} from "./options.js";
import { runFiles } from "./run-folder.js";
import { type RunStart, startingWeights, stepsOf } from "./run-start.js";
import { runStateSchema } from "./run-state.js";
import type { NewRun } from "./start-run.js";

/**
 * Takes up a run at its newest checkpoint, or from its start where it has none yet. Samples are counted
 * only where no checkpoint knows what follows from their number. Of options of training, those that change
 * nothing that is learnt from a batch may be given anew.
 *
 * @throws ClipsmithError if the folder holds no run.
 */
export async function resumeRun(
  folder: string,
  countSamples: (training: ResolvedTrainingOptions, countAll: boolean) => Promise<number>,
  { parts = {}, training: given = {} }: Pick<NewRun, "parts" | "training"> = {},
): Promise<RunStart> {
  const path = join(folder, runFiles.training);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    if (existsSync(path)) {
      throw new ClipsmithError(
        `Cannot read ${path}: ${messageOf(cause)}. Mend it: it holds the options that the run was started ` +
          "with, as JSON. Its checkpoints are as they were.",
        { cause },
      );
    }
    throw new ClipsmithError(
      `There is no run to resume in ${folder}: cannot read ${runFiles.training}: ` +
        `${messageOf(cause)}. Leave out --resume to start one.`,
      { cause },
    );
  }
  const options = { ...(json as object), ...changeable(given) };
  const training = parseOptions(trainingOptionsSchema, options, path);
  if (!existsSync(join(folder, modelFiles.config))) {
    throw new ClipsmithError(
      `The run in ${folder} was stopped before its first step. Start it anew by --overwrite, ` +
        "without --resume.",
    );
  }
  const { config, tokenizer } = await loadDescription(folder);
  const clip = new CLIP(config.clip, parts);
  const { latest: checkpoint, warnings } = await latestCheckpoint(
    join(folder, runFiles.checkpoints),
  );
  const configuration = await configurationOf(folder);
  const state = runStateSchema.parse(checkpoint?.state ?? {});
  if (checkpoint && state.configuration) {
    warnings.push(...compareConfigurations(checkpoint.path, state.configuration, configuration));
  }
  const counted = training.epochs !== undefined && state.totalSteps === undefined;
  const samples = state.batchSize && !counted ? 0 : await countSamples(training, counted);
  const { steps } = training;
  if (steps !== undefined && state.totalSteps !== undefined && steps !== state.totalSteps) {
    warnings.push(
      `The run keeps its ${state.totalSteps} steps, by which its learning rate goes up and down. To train ` +
        `its model on when it has ended, start another run by --init ${folder}.`,
    );
  }
  const batchSize = state.batchSize ?? Math.min(training.batchSize, samples);
  const totalSteps = state.totalSteps ?? stepsOf(training, batchSize, samples);
  const weights = startingWeights(clip, training, batchSize);
  if (!checkpoint && training.init) {
    warnings.push(...(await Init.load(training.init, folder)).apply(clip, weights));
  }
  for (const [name, { trainable }] of clip.parameters) {
    const saved = checkpoint?.tensors.get(name)?.data;
    if (saved instanceof Float32Array) weights.set(name, saved);
    else if (checkpoint && trainable) {
      throw new ClipsmithError(`${checkpoint.path} has no ${name}: is it of another model?`);
    }
  }
  return {
    config,
    tokenizer,
    weights,
    training,
    batchSize,
    totalSteps,
    checkpoint,
    configuration,
    warnings,
  };
}

/** Of options of training, those that a resumed run takes. */
function changeable(options: TrainingOptions): TrainingOptions {
  const given = changeableOptions.filter((name) => options[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, options[name]]));
}
