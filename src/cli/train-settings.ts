import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { type PresetName, presets } from "../clip/index.js";
import { modelFiles, modelSettingsSchema } from "../model/index.js";
import { type NewRun, runFiles, trainingOptionsSchema } from "../train/index.js";
import { ClipsmithError } from "../util/errors.js";
import { parseOptions } from "../util/options.js";
import { isTree, merge, nested, parseSetting, readConfig, type Tree } from "./settings-tree.js";

/** What a configuration file may hold. */
const settingsSchema = z.strictObject({
  model: modelSettingsSchema.partial().optional(),
  training: trainingOptionsSchema.optional(),
  tokenizer: z.string().optional(),
  vocabularySize: z.int().min(258).optional(),
});

/** Options of `clipsmith train` that stand for a setting each. */
export const shorthands = {
  minutes: ["training", "minutes"],
  steps: ["training", "steps"],
  batchSize: ["training", "batchSize"],
  learningRate: ["training", "learningRate"],
  weightDecay: ["training", "weightDecay"],
  warmupSteps: ["training", "warmupSteps"],
  seed: ["training", "seed"],
  checkpointSeconds: ["training", "checkpointSeconds"],
  imageSize: ["model", "clip", "visualImageSize"],
  patchSize: ["model", "clip", "visualPatchSize"],
  tokenizer: ["tokenizer"],
  vocabularySize: ["vocabularySize"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Where a new run's settings come from. */
export interface SettingsFlags
  extends Partial<Record<Exclude<keyof typeof shorthands, "tokenizer">, number>> {
  readonly tokenizer?: string;
  /** Folder of the model to start from, and which of its parameters are taken. */
  readonly init?: string;
  readonly initOnly?: string;
  readonly preset?: PresetName;
  /** Path of a JSON file. */
  readonly config?: string;
  /** Each `path=value`. */
  readonly set?: readonly string[];
}

/** The preset that a run starts from where none is named. */
export const DEFAULT_PRESET: PresetName = "tiny";

/**
 * The settings of a new run: those of the preset, of the configuration file, of the shorthand options
 * and of `--set`, each overriding the ones before.
 *
 * @throws ClipsmithError naming where an unknown or wrong setting stands.
 */
export function newRunSettings(
  flags: SettingsFlags,
): Pick<NewRun, keyof typeof settingsSchema.shape> {
  const given = givenSettings({ ...flags, preset: undefined });
  // Otherwise the model that a run starts from has its own shape.
  const fromInit = isTree(given.training) && given.training.init !== undefined;
  const preset = flags.preset ?? (fromInit ? undefined : DEFAULT_PRESET);
  return merge(preset ? { model: { clip: presets[preset].clip } } : {}, given);
}

/** The settings that were asked for, without those of a preset that was not. */
function givenSettings(
  flags: Omit<SettingsFlags, "preset"> & { preset?: PresetName | undefined },
): Tree {
  const layers: [where: string, tree: Tree][] = [];
  if (flags.preset) layers.push(["--preset", { model: { clip: presets[flags.preset].clip } }]);
  if (flags.config !== undefined) layers.push([flags.config, readConfig(flags.config)]);
  for (const [name, path] of Object.entries(shorthands)) {
    const value = flags[name as keyof typeof shorthands];
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value !== undefined) layers.push([flag, nested(path, value)]);
  }
  if (flags.init !== undefined) {
    const init = { from: flags.init, ...(flags.initOnly && { only: flags.initOnly }) };
    layers.push(["--init", { training: { init } }]);
  } else if (flags.initOnly !== undefined) {
    throw new ClipsmithError("--init-only: name the model by --init.");
  }
  for (const setting of flags.set ?? []) layers.push([`--set ${setting}`, parseSetting(setting)]);
  for (const [where, tree] of layers) parseOptions(settingsSchema, tree, where);
  return layers.reduce<Tree>((settings, [, tree]) => merge(settings, tree), {});
}

/**
 * Makes sure that a run is not asked to go on with other settings than its own.
 *
 * @throws ClipsmithError naming the settings that differ.
 */
export function checkResumedSettings(run: string, flags: SettingsFlags): void {
  const { model: givenModel = {}, training: givenTraining = {} } = givenSettings(flags);
  const given = { model: givenModel, training: givenTraining };
  const model = readJson(join(run, modelFiles.config));
  const training = readJson(join(run, runFiles.training));
  // Where there is no run, resuming says so.
  if (model === undefined || training === undefined) return;
  const own = { model, training };
  const differing = differences(given, own);
  if (differing.length === 0) return;
  throw new ClipsmithError(
    `${run} goes on with the settings it was started with. These differ:\n` +
      `${differing.map((line) => `  ${line}\n`).join("")}` +
      "Leave them out, or start a new run with another --out.",
  );
}

/** A line for each value of `given` that `own` has otherwise. */
function differences(given: Tree, own: Tree, prefix = ""): string[] {
  return Object.entries(given).flatMap(([name, value]) => {
    const ours = own[name];
    if (isTree(value)) return differences(value, isTree(ours) ? ours : {}, `${prefix}${name}.`);
    const [asked, has] = [JSON.stringify(value), JSON.stringify(ours)];
    return asked === has
      ? []
      : [`${prefix}${name} is ${has ?? "not set"} in the run, not ${asked}`];
  });
}

/** A JSON file; undefined where it cannot be read. */
function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}
