import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isAddress } from "../data/captions.js";
import { loadTokenizer } from "../data/index.js";
import { modelFiles } from "../model/index.js";
import {
  changeableOptions,
  DEFAULT_PRESET,
  type NewRun,
  type PresetName,
  presets,
  runConfigSchema,
  runFiles,
  type TrainingOptions,
} from "../train/index.js";
import { ClipsmithError } from "../util/errors.js";
import { checkGiven } from "./check-settings.js";
import { collectionOf, readCollections } from "./run-folder.js";
import { readSettingsFile } from "./settings-file.js";
import {
  checkSettings,
  isTree,
  merge,
  nested,
  type PlacedSettings,
  parseSetting,
  type Tree,
} from "./settings-tree.js";

/** Options of `clipsmith train` that stand for a setting each. */
export const shorthands = {
  preset: ["preset"],
  out: ["out"],
  validation: ["validation"],
  minutes: ["training", "minutes"],
  steps: ["training", "steps"],
  epochs: ["training", "epochs"],
  batchSize: ["training", "batchSize"],
  chunkSize: ["training", "chunkSize"],
  learningRate: ["training", "learningRate"],
  weightDecay: ["training", "weightDecay"],
  warmupSteps: ["training", "warmupSteps"],
  seed: ["training", "seed"],
  checkpointSeconds: ["training", "checkpointSeconds"],
  imageSize: ["model", "clip", "visualImageSize"],
  patchSize: ["model", "clip", "visualPatchSize"],
  weights: ["training", "sourceWeights"],
  tokenizer: ["tokenizer"],
  vocabularySize: ["vocabularySize"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Where a new run's settings come from. */
export interface SettingsFlags
  extends Partial<
    Record<
      Exclude<keyof typeof shorthands, "tokenizer" | "preset" | "out" | "validation" | "weights">,
      number
    >
  > {
  readonly tokenizer?: string;
  /** How often each of several collections is drawn from. */
  readonly weights?: readonly number[];
  /** Folder of the model to start from, and which of its parameters are taken. */
  readonly init?: string;
  readonly initOnly?: string;
  readonly preset?: PresetName;
  readonly out?: string;
  readonly validation?: string;
  /** Path of a file in YAML, JSON or TypeScript. */
  readonly config?: string;
  /** Each `path=value`. */
  readonly set?: readonly string[];
}

/** What is settled before a run: what it is told, and what it is about. */
export interface RunSettings
  extends Pick<NewRun, "model" | "training" | "tokenizer" | "vocabularySize"> {
  /** The collection to train on, or several. */
  readonly data?: string | readonly string[];
  /** A collection to validate on. */
  readonly validation?: string;
  /** Folder of the run. */
  readonly out?: string;
}

/**
 * The settings of a new run: those of the preset, of the configuration file, of the shorthand options
 * and of `--set`, each overriding the ones before.
 *
 * @throws ClipsmithError naming where an unknown or wrong setting stands.
 */
export async function newRunSettings(flags: SettingsFlags): Promise<RunSettings> {
  const { preset: named, ...given } = await givenSettings(flags);
  checkGiven(given);
  // Otherwise the model that a run starts from has its own shape.
  const fromInit = isTree(given.training) && given.training.init !== undefined;
  const preset = named ?? (fromInit ? undefined : DEFAULT_PRESET);
  return preset ? overlay(presetSettings(preset as PresetName, given), given) : given;
}

/** A preset as settings; its warm-up is a tenth of a run whose steps it would outlast. */
function presetSettings(preset: PresetName, { training = {} }: Tree): Tree {
  const { clip, training: usual } = presets[preset];
  const { steps = Number.POSITIVE_INFINITY } = training as TrainingOptions;
  const warmupSteps = usual.warmupSteps < steps ? usual.warmupSteps : Math.floor(steps / 10);
  return { model: { clip }, training: { ...usual, warmupSteps } };
}

/** The settings that were asked for, without those of a preset. */
async function givenSettings(flags: SettingsFlags): Promise<Tree> {
  const layers: PlacedSettings[] = [];
  const add = (place: string, tree: Tree) => layers.push({ tree, place: () => place });
  if (flags.config !== undefined) {
    const { tree, place } = await readSettingsFile(flags.config);
    layers.push({ tree: besideFile(tree, flags.config), place });
  }
  for (const [name, path] of Object.entries(shorthands)) {
    const value = flags[name as keyof typeof shorthands];
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value !== undefined) add(flag, nested(path, value));
  }
  if (flags.init !== undefined) {
    const init = { from: flags.init, ...(flags.initOnly && { only: flags.initOnly }) };
    add("--init", { training: { init } });
  } else if (flags.initOnly !== undefined) {
    throw new ClipsmithError("--init-only: name the model by --init.");
  }
  layers.push(...(flags.set ?? []).map(parseSetting));
  for (const layer of layers) checkSettings(runConfigSchema, layer);
  return layers.reduce<Tree>((settings, { tree }) => overlay(settings, tree), {});
}

/** How long to train, said in one way or another: who gives one takes the others back. */
const lengths = ["minutes", "steps", "epochs"] as const;

/** {@link merge}, where a length of one kind replaces one of the other kind. */
function overlay(under: Tree, over: Tree): Tree {
  const merged = merge(under, over);
  const given = isTree(over.training) ? over.training : {};
  if (!isTree(merged.training)) return merged;
  const training = { ...merged.training };
  if (lengths.some((name) => name in given)) {
    for (const name of lengths) if (!(name in given)) delete training[name];
  }
  return { ...merged, training };
}

/** Paths in a file are relative to it, so that it means the same wherever the command is run. */
function besideFile(tree: Tree, file: string): Tree {
  const beside = (path: unknown): unknown => {
    if (Array.isArray(path)) return path.map(beside);
    return typeof path === "string" && !isAddress(path) ? resolve(dirname(file), path) : path;
  };
  const merged = { ...tree };
  for (const name of ["data", "validation", "out", "tokenizer"]) {
    if (name in tree && tree[name] !== "openai") merged[name] = beside(tree[name]);
  }
  const { training } = tree;
  if (!isTree(training) || !isTree(training.init)) return merged;
  const init = { ...training.init, from: beside(training.init.from) };
  return { ...merged, training: { ...training, init } };
}

/**
 * Makes sure that a run is not asked to go on with other settings than its own, but for those that change
 * nothing that is learnt from a batch.
 *
 * @throws ClipsmithError naming the settings that differ.
 */
export async function checkResumedSettings(
  run: string,
  { data, ...flags }: SettingsFlags & { readonly data: readonly string[] },
): Promise<void> {
  const {
    preset,
    model: givenModel = {},
    training: givenTraining = {},
    ...asides
  } = await givenSettings(flags);
  const kept = Object.entries(givenTraining as Tree).filter(([name]) => !mayChange(name));
  const asked = { model: givenModel, training: Object.fromEntries(kept) };
  const given =
    preset === undefined ? asked : overlay(presetSettings(preset as PresetName, asked), asked);
  const model = readJson(join(run, modelFiles.config));
  const training = readJson(join(run, runFiles.training));
  // Where there is no run, resuming says so.
  if (model === undefined || training === undefined) return;
  const differing = [
    ...differences(given, { model, training }),
    ...(await differingAsides(
      run,
      { ...asides, data },
      isTree(training) && training.validation !== undefined,
    )),
  ];
  if (differing.length === 0) return;
  throw new ClipsmithError(
    `${run} goes on with the settings it was started with. These differ:\n` +
      `${differing.map((line) => `  ${line}\n`).join("")}` +
      "Leave them out, or start a new run with another --out.",
  );
}

/** A line for each setting that `training.json` and `config.json` do not have, and the run has otherwise. */
async function differingAsides(
  run: string,
  { data, validation, tokenizer, vocabularySize }: Tree,
  validates: boolean,
): Promise<string[]> {
  const lines: string[] = [];
  const known = readCollections(run);
  const trained = known.trained?.map(({ path }) => path) ?? [];
  const given = (data as readonly string[]).map((spec) => collectionOf(spec).path);
  // What is not there any more has moved.
  if (given.length > 0 && trained.length > 0 && trained.every(isThere)) {
    lines.push(...differences({ data: given }, { data: trained }));
  }
  if (validation !== undefined && !validates) {
    lines.push(`validation is not set in the run, not ${JSON.stringify(validation)}`);
  }
  const own = known.validated?.path;
  if (validation !== undefined && validates && own !== undefined && isThere(own)) {
    const asked = collectionOf(String(validation)).path;
    lines.push(...differences({ validation: asked }, { validation: own }));
  }
  const ownPath = join(run, modelFiles.tokenizer);
  if (tokenizer !== undefined) {
    const [asked, own] = await Promise.all([
      loadTokenizer(String(tokenizer)),
      loadTokenizer(ownPath),
    ]);
    // Where they are from does not matter.
    if (JSON.stringify(asked) !== JSON.stringify(own)) {
      lines.push(`tokenizer is that of ${ownPath} in the run, not ${JSON.stringify(tokenizer)}`);
    }
  }
  if (vocabularySize !== undefined) {
    const own = known.vocabularySize ?? (await loadTokenizer(ownPath)).vocabularySize;
    lines.push(...differences({ vocabularySize }, { vocabularySize: own }));
  }
  return lines;
}

/** Whether a collection is where it was; of addresses, nobody asks. */
function isThere(path: string): boolean {
  // Where braces name several, they have a folder in common.
  return (
    isAddress(path) || existsSync(path.includes("{") ? dirname(`${path.split("{", 1)[0]!}_`) : path)
  );
}

/** Whether a resumed run takes an option of training. */
function mayChange(name: string): boolean {
  return (changeableOptions as readonly string[]).includes(name);
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
