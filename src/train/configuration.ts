import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { modelFiles } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { isObject } from "../util/is-object.js";
import { namesOf } from "../util/names.js";

/** Name of a run's options of training in its folder. */
export const TRAINING_FILE = "training.json";

/** What a run's checkpoints were made with, as each of them remembers it. */
export const configurationSchema = z.object({
  /** Of `config.json` and `training.json` as they are, without defaults that a later version adds. */
  model: z.json(),
  training: z.json(),
  /** SHA-256 of the tokenizer's file. */
  tokenizer: z.string(),
});
export type Configuration = z.output<typeof configurationSchema>;

/** The configuration of the run in a folder. */
export async function configurationOf(folder: string): Promise<Configuration> {
  const [model, training, tokenizer] = await Promise.all(
    [modelFiles.config, TRAINING_FILE, modelFiles.tokenizer].map((name) =>
      readFile(join(folder, name)),
    ),
  );
  return {
    model: JSON.parse(String(model)),
    training: JSON.parse(String(training)),
    tokenizer: createHash("sha256").update(tokenizer!).digest("hex"),
  };
}

/**
 * Compares what a checkpoint was made with and what its run's folder says now. Numbers of another model
 * or tokenizer mean nothing; other options of training are the user's to choose.
 *
 * @returns a warning where options of training differ
 * @throws ClipsmithError where the model's or the tokenizer differ
 */
export function compareConfigurations(
  path: string,
  made: Configuration,
  now: Configuration,
): string[] {
  const wrong = [
    ...differences(made.model, now.model),
    ...(made.tokenizer === now.tokenizer ? [] : [`${modelFiles.tokenizer} has changed`]),
  ];
  if (wrong.length > 0) {
    throw new ClipsmithError(
      `${path} was made with another ${modelFiles.config} or ${modelFiles.tokenizer}: ` +
        `${namesOf(wrong)}. Put back the files it was made with.`,
    );
  }
  const changed = differences(made.training, now.training);
  if (changed.length === 0) return [];
  return [`Options of training have changed since ${path}: ${namesOf(changed)}.`];
}

/** For example `seed was 1 and is 2`. */
function differences(made: unknown, now: unknown, path = ""): string[] {
  if (isObject(made) && isObject(now)) {
    const names = new Set([...Object.keys(made), ...Object.keys(now)]);
    return [...names].flatMap((name) =>
      differences(made[name], now[name], path === "" ? name : `${path}.${name}`),
    );
  }
  const [before, after] = [JSON.stringify(made), JSON.stringify(now)];
  return before === after
    ? []
    : [`${path} was ${before ?? "not set"} and is ${after ?? "not set"}`];
}
