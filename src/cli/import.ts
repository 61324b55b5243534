import { existsSync, readdirSync } from "node:fs";
import { Command } from "commander";
import { z } from "zod";
import type { ModelConfigInput } from "../model/index.js";
import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import { repeated } from "./arguments.js";
import { print } from "./print.js";
import { checkSettings, merge, parseSetting, type Tree } from "./settings-tree.js";

interface ImportFlags {
  readonly out: string;
  readonly tokenizer: string;
  readonly key?: string;
  readonly config?: string;
  readonly set?: readonly string[];
}

/** `clipsmith import`: from an x-clip checkpoint to a model's folder. */
export function importCommand(): Command {
  return new Command("import")
    .summary("make a model's folder of an x-clip checkpoint")
    .description(
      "Makes a model's folder of weights that x-clip has trained. What the weights' shapes tell of the " +
        "model need not be said. Nothing in the checkpoint is run.",
    )
    .argument("<checkpoint>", "PyTorch file (.pt, .pth, .bin) or .safetensors")
    .requiredOption("--out <folder>", "folder for the model, new or empty")
    .requiredOption("--tokenizer <file>", "tokenizer.json that the model was trained with")
    .option("--key <path>", "where the state dict lies in the file, such as model; default: found")
    .option(
      "--set <path=value>",
      "what shapes don't tell, such as clip.textHeads=4; may be repeated",
      repeated,
    )
    .option(
      "--config <file>",
      "the same in YAML, JSON or TypeScript: {model: {clip, preprocessing}}",
    )
    .addHelpText(
      "after",
      `
Shapes tell how wide all heads are together; where that is not 512, x-clip's 8 heads of 64, say
clip.textHeads and clip.visualHeads. They don't tell what leaves no weights either, such as
clip.textSeqLen with rotary embeddings, clip.textPadId, or the preprocessing of pictures.

Example:
  clipsmith import clip.pt --out runs/clip --tokenizer tokenizer.json --set clip.textHeads=4`,
    )
    .action(importRun);
}

async function importRun(checkpoint: string, flags: ImportFlags): Promise<void> {
  const { out, key } = flags;
  if (existsSync(out) && !isEmptyFolder(out)) {
    throw new ClipsmithError(`${out} is not an empty folder. Choose another by --out.`);
  }
  const [
    { CLIP },
    { loadTokenizer },
    { importModel, modelSettingsSchema, saveDescription, saveWeights },
    { readSettingsFile },
  ] = await Promise.all([
    import("../clip/index.js"),
    import("../data/index.js"),
    import("../model/index.js"),
    import("./settings-file.js"),
  ]);
  const schema = z.strictObject({ model: modelSettingsSchema.partial().optional() });
  const layers = [
    ...(flags.config === undefined ? [] : [await readSettingsFile(flags.config)]),
    ...(flags.set ?? []).map(parseSetting),
  ];
  for (const layer of layers) checkSettings(schema, layer);
  const settings = layers.reduce<Tree>((under, { tree }) => merge(under, tree), {});

  const tokenizer = await loadTokenizer(flags.tokenizer);
  const model = settings.model as Partial<ModelConfigInput> | undefined;
  const parts = await importModel(checkpoint, { tokenizer, key, ...(model && { model }) });
  await saveDescription(out, parts);
  await saveWeights(out, parts.config, parts.weights);
  const { clip } = parts.config;
  print(
    `A model of ${counted(new CLIP(clip).parameterCount, "parameter")} is in ${out}:`,
    `  texts of up to ${counted(clip.textSeqLen, "token")}, ${counted(clip.textEncDepth, "layer")}, ` +
      `${counted(clip.textHeads, "head")} of ${clip.textDimHead}`,
    `  pictures of ${clip.visualImageSize} px in patches of ${clip.visualPatchSize} px, ` +
      `${counted(clip.visualEncDepth, "layer")}, ${counted(clip.visualHeads, "head")} of ${clip.visualDimHead}`,
    "Make pictures searchable:",
    `  clipsmith index ${quote(out)} COLLECTION`,
  );
}

function isEmptyFolder(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}
