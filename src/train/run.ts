import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CLIP } from "../clip/index.js";
import { type Sample, trainTokenizer } from "../data/index.js";
import {
  loadDescription,
  type ModelConfig,
  type ModelConfigInput,
  type ModelParts,
  modelConfigSchema,
  saveDescription,
} from "../model/index.js";
import { initialize } from "../nn/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { type Checkpoint, latestCheckpoint, loadCheckpoint } from "./checkpoint.js";
import {
  type ResolvedTrainingOptions,
  type TrainingOptions,
  trainingOptionsSchema,
} from "./options.js";

/** Names inside a run's folder, which is also the model's. */
export const runFiles = {
  training: "training.json",
  metrics: "metrics.jsonl",
  checkpoints: "checkpoints",
} as const;

/** What a run starts from: afresh, or at a checkpoint. */
export interface RunStart extends ModelParts {
  readonly training: ResolvedTrainingOptions;
  readonly checkpoint: Checkpoint | undefined;
  readonly warnings: readonly string[];
}

/** What may be chosen of a new run. */
export interface NewRun {
  readonly model?: Omit<ModelConfigInput, "format">;
  readonly training?: TrainingOptions;
  /** Most tokens of the tokenizer trained on the captions; default 8192. */
  readonly vocabularySize?: number;
  /** Replace the run that the folder holds; default false. */
  readonly overwrite?: boolean;
}

/** Longest text by default, in tokens: CLIP's. */
const MAX_TEXT_LENGTH = 77;

/**
 * Makes the folder of a new run: its tokenizer, trained on the captions, and its options.
 *
 * @throws ClipsmithError if the folder holds a run or anything else, or an option is wrong.
 */
export async function startRun(
  folder: string,
  samples: readonly Sample[],
  { model = { clip: {} }, training = {}, vocabularySize, overwrite = false }: NewRun,
): Promise<RunStart> {
  const options = parseOptions(trainingOptionsSchema, training, "training options");
  const replaces = await checkFolder(folder, overwrite);
  const captions = samples.flatMap((sample) => sample.captions);
  const tokenizer = trainTokenizer(captions, vocabularySize ? { vocabularySize } : {});
  const longest = captions.reduce((n, text) => Math.max(n, tokenizer.encode(text).length), 1);
  const config: ModelConfig = parseOptions(
    modelConfigSchema,
    {
      ...model,
      clip: {
        textSeqLen: Math.min(longest, MAX_TEXT_LENGTH),
        ...model.clip,
        numTextTokens: tokenizer.vocabularySize,
      },
    },
    "model options",
  );
  const clip = new CLIP(config.clip);
  // Only now is nothing left that could be wrong with the new run.
  if (replaces) await rm(folder, { recursive: true });
  await saveDescription(folder, { config, tokenizer });
  await writeFile(join(folder, runFiles.training), `${JSON.stringify(options, undefined, 2)}\n`);
  const weights = initialize(clip.parameters, options.seed);
  return { config, tokenizer, weights, training: options, checkpoint: undefined, warnings: [] };
}

/**
 * Takes up a run at its newest checkpoint, or from its start where it has none yet.
 *
 * @throws ClipsmithError if the folder holds no run.
 */
export async function resumeRun(folder: string): Promise<RunStart> {
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
  const training = parseOptions(trainingOptionsSchema, json, path);
  const { config, tokenizer } = await loadDescription(folder);
  const { parameters } = new CLIP(config.clip);
  const { latest, warnings } = await latestCheckpoint(join(folder, runFiles.checkpoints));
  const weights = initialize(parameters, training.seed);
  const checkpoint = latest && (await loadCheckpoint(latest.path));
  for (const [name, { trainable }] of parameters) {
    const saved = checkpoint?.tensors.get(name)?.data;
    if (saved instanceof Float32Array) weights.set(name, saved);
    else if (checkpoint && trainable) {
      throw new ClipsmithError(`${latest?.path} has no ${name}: is it of another model?`);
    }
  }
  return { config, tokenizer, weights, training, checkpoint, warnings };
}

/** What a checkpoint's `state.json` says beside the step. */
export const checkpointStateSchema = z.object({ totalSteps: z.int().positive() });

/** Whether the folder holds a run that may be replaced; it is made if there is none. */
async function checkFolder(folder: string, overwrite: boolean): Promise<boolean> {
  await mkdir(folder, { recursive: true });
  const files = await readdir(folder);
  if (files.length === 0) return false;
  if (!files.includes(runFiles.training)) {
    throw new ClipsmithError(`${folder} is not empty and holds no run; choose another folder.`);
  }
  if (!overwrite) {
    throw new ClipsmithError(
      `${folder} already holds a run. Go on with it by --resume, replace it by --overwrite, ` +
        "or choose another folder by --out.",
    );
  }
  return true;
}
