import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CLIP, type ClipParts } from "../clip/index.js";
import { loadTokenizer, type Tokenizer } from "../data/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { makeFolders } from "../util/make-folders.js";
import { parseOptions } from "../util/options.js";
import { replaceFile } from "../util/write-file.js";
import { readSafetensors, writeSafetensors } from "../weights/index.js";
import { type ModelConfig, modelConfigSchema } from "./config.js";
import { fromStateDict, toStateDict } from "./state-dict.js";

/** Names of the files in a model's folder. */
export const modelFiles = {
  config: "config.json",
  tokenizer: "tokenizer.json",
  weights: "model.safetensors",
} as const;

/** A model in memory. */
export interface ModelParts {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** By x-clip's `state_dict` names. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/**
 * Writes `config.json` and `tokenizer.json` of a model; its weights may follow later.
 *
 * @throws ClipsmithError if the folder cannot be made or written to.
 */
export async function saveDescription(
  folder: string,
  { config, tokenizer }: Pick<ModelParts, "config" | "tokenizer">,
): Promise<void> {
  try {
    await makeFolders(folder);
    await tokenizer.save(join(folder, modelFiles.tokenizer));
  } catch (cause) {
    throw new ClipsmithError(`Cannot write a model to ${folder}: ${messageOf(cause)}`, { cause });
  }
  const path = join(folder, modelFiles.config);
  await replaceFile(path, [Buffer.from(`${JSON.stringify(config, undefined, 2)}\n`)]);
}

/** Writes `model.safetensors`; an earlier one is replaced in one go. */
export async function saveWeights(
  folder: string,
  config: ModelConfig,
  weights: ReadonlyMap<string, Float32Array>,
  parts: ClipParts = {},
): Promise<void> {
  const { parameters } = new CLIP(config.clip, parts);
  const tensors = toStateDict(parameters, new Map(), weights);
  await writeSafetensors(join(folder, modelFiles.weights), tensors, { format: "clipsmith" });
}

/**
 * Reads `config.json` and `tokenizer.json` of a model's folder.
 *
 * @throws ClipsmithError if one is missing or damaged.
 */
export async function loadDescription(
  folder: string,
): Promise<Pick<ModelParts, "config" | "tokenizer">> {
  const path = join(folder, modelFiles.config);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new ClipsmithError(
      `${folder} is not a model's folder: cannot read ${modelFiles.config}: ${messageOf(cause)}. ` +
        "Name a folder that `clipsmith train` has written.",
      { cause },
    );
  }
  const config = parseOptions(modelConfigSchema, json, path);
  const tokenizer = await loadTokenizer(join(folder, modelFiles.tokenizer));
  if (tokenizer.vocabularySize > config.clip.numTextTokens) {
    throw new ClipsmithError(
      `${folder}: ${modelFiles.tokenizer} has ${tokenizer.vocabularySize} tokens, but the model ` +
        `of ${modelFiles.config} knows ${config.clip.numTextTokens}. Are they of one model?`,
    );
  }
  return { config, tokenizer };
}

/**
 * Reads a model's folder.
 *
 * @throws ClipsmithError if a file is missing or damaged, or the weights are not those of the model.
 */
export async function loadModel(folder: string, parts: ClipParts = {}): Promise<ModelParts> {
  const { config, tokenizer } = await loadDescription(folder);
  const path = join(folder, modelFiles.weights);
  const { tensors } = await readSafetensors(path);
  const { parameters, aliases } = new CLIP(config.clip, parts);
  return { config, tokenizer, weights: fromStateDict(parameters, aliases, tensors, path) };
}
