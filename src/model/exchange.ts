import { CLIP, type ClipParts, inferClipOptions } from "../clip/index.js";
import type { Tokenizer } from "../data/index.js";
import { ClipsmithError } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { readWeights, writeSafetensors } from "../weights/index.js";
import { type ModelConfigInput, modelConfigSchema } from "./config.js";
import { loadModel, type ModelParts } from "./folder.js";
import { fromStateDict, toStateDict, withoutPrefix } from "./state-dict.js";

/** What {@link importModel} needs to know beside the weights. */
export interface ImportOptions {
  /** The tokenizer that the model was trained with. */
  readonly tokenizer: Tokenizer;
  /** Options that the weights' shapes don't tell, or that win over what they tell; default none. */
  readonly model?: Partial<Omit<ModelConfigInput, "format">>;
  /** Where the state dict lies in the checkpoint, see {@link readWeights}. */
  readonly key?: string | undefined;
}

/**
 * Makes a model of an x-clip checkpoint, a PyTorch or a safetensors file. Its options are those that the
 * shapes tell, see {@link inferClipOptions}.
 *
 * @throws ClipsmithError if the file cannot be read, an option is wrong or has to be told, the tokenizer
 *   has more tokens than the model knows, or the weights don't fit the options
 */
export async function importModel(
  checkpoint: string,
  { tokenizer, model = {}, key }: ImportOptions,
): Promise<ModelParts> {
  const tensors = withoutPrefix(await readWeights(checkpoint, key));
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  const inferred = inferClipOptions(shapes, { ...model.clip }, checkpoint);
  // Texts will end as the tokenizer ends them.
  const clip = {
    ...(inferred.textCausalMask === true && { textEosId: tokenizer.eosId }),
    ...inferred,
  };
  const config = parseOptions(modelConfigSchema, { ...model, clip }, checkpoint);
  if (tokenizer.vocabularySize > config.clip.numTextTokens) {
    throw new ClipsmithError(
      `${checkpoint}: the tokenizer has ${tokenizer.vocabularySize} tokens, but the model knows ` +
        `${config.clip.numTextTokens}. Give the tokenizer that it was trained with.`,
    );
  }
  const { parameters, aliases } = new CLIP(config.clip);
  const weights = fromStateDict(parameters, aliases, tensors, checkpoint);
  return { config, tokenizer, weights };
}

/**
 * Writes the weights in a model's folder as a safetensors file that x-clip loads by
 * `load_state_dict(safetensors.torch.load_file(path), strict=True)`: tensors that modules share are
 * repeated under every name.
 *
 * @param parts encoders of your own, those that the model was trained with.
 * @throws ClipsmithError if the folder is damaged or the file cannot be written
 */
export async function exportWeights(
  folder: string,
  path: string,
  parts: ClipParts = {},
): Promise<void> {
  const { config, weights } = await loadModel(folder, parts);
  const { parameters, aliases } = new CLIP(config.clip, parts);
  // The metadata is what Python's libraries ask for.
  await writeSafetensors(path, toStateDict(parameters, aliases, weights), { format: "pt" });
}
