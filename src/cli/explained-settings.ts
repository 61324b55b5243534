import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { modelConfigSchema, modelFiles, modelSettingsSchema } from "../model/index.js";
import { type PresetName, presets, runFiles, trainingOptionsSchema } from "../train/index.js";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { readCollections } from "./run-folder.js";
import { settingsText } from "./settings-text.js";

/** Options of the model that a new run finds out by itself, unless they are given. */
const FOUND_OUT = ["numTextTokens", "textSeqLen", "textPadId", "textEosId"];

/** The settings of a preset, every one explained, as YAML for `train --config`. */
export function presetText(name: PresetName): string {
  const { clip, training } = presets[name];
  const model = modelSettingsSchema.parse({ clip });
  const known = Object.entries(model.clip).filter(([option]) => !FOUND_OUT.includes(option));
  return settingsText(
    `The settings of the preset ${name}, to edit for: clipsmith train --config FILE`,
    {
      model: { ...model, clip: Object.fromEntries(known) },
      training: trainingOptionsSchema.parse(training),
    },
  );
}

/** The settings that would repeat a run, every one explained, as YAML for `train --config`. */
export function runText(run: string): string {
  const path = join(run, modelFiles.config);
  const { format, ...model } = parseOptions(modelConfigSchema, readJson(path), path);
  // The tokenizer's, which cannot be chosen beside it.
  const { numTextTokens, ...clip } = model.clip;
  const { minutes, ...training } = parseOptions(
    trainingOptionsSchema,
    readJson(join(run, runFiles.training)),
    join(run, runFiles.training),
  );
  const { trained, validated } = readCollections(run);
  const data = trained?.map(({ path }) => path);
  return settingsText(`The settings of the run in ${resolve(run)}`, {
    data: data?.length === 1 ? data[0] : data,
    validation: validated?.path,
    tokenizer: resolve(run, modelFiles.tokenizer),
    model: { ...model, clip },
    training:
      (training.steps ?? training.epochs) === undefined ? { minutes, ...training } : training,
  });
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new ClipsmithError(
      `Cannot read ${path}: ${messageOf(cause)}. Name a folder that \`clipsmith train\` has written.`,
      { cause },
    );
  }
}
