import { z } from "zod";
import { clipOptionsSchema } from "../clip/index.js";
import { preprocessingSchema } from "../model/index.js";
import { trainingOptionsSchema } from "./options.js";
import { type PresetName, presets } from "./presets.js";

/** Everything that a configuration file of a run may say; what it leaves out has its default. */
export const runConfigSchema = z.strictObject({
  /** The preset whose settings hold where none is given. */
  preset: z.enum(Object.keys(presets) as [PresetName, ...PresetName[]]).optional(),
  /** The collection to train on, or several of them. A path is relative to the file. */
  data: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  /** A collection to validate on, in place of `training.validation.part`. A path is relative to the file. */
  validation: z.string().optional(),
  /** Folder of the run. A path is relative to the file. */
  out: z.string().optional(),
  /** `openai`, or the path of a tokenizer's file, relative to the configuration's. */
  tokenizer: z.string().optional(),
  /** Most tokens of the tokenizer that is trained on the captions; default 8192. */
  vocabularySize: z.int().min(258).optional(),
  model: z
    .strictObject({
      clip: clipOptionsSchema.optional(),
      preprocessing: preprocessingSchema.optional(),
    })
    .optional(),
  training: trainingOptionsSchema.optional(),
});

/** A run's configuration. */
export type RunConfig = z.input<typeof runConfigSchema>;

/** Gives a configuration in TypeScript its type: `export default defineConfig({ ... })`. */
export function defineConfig(config: RunConfig): RunConfig {
  return config;
}
