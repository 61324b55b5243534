import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import type { Sample } from "../data/index.js";
import type { Model } from "../model/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";

/** Names in a run's folder that only the command line knows of. */
export const cliFiles = {
  collections: "collections.json",
  metrics: "metrics.json",
  report: "report.html",
  index: "index",
} as const;

const collectionSchema = z.object({
  /** Absolute path of the folder or list. */
  path: z.string(),
  pictures: z.int(),
  captions: z.int(),
});

const collectionsSchema = z.object({
  /** What the model was trained on. */
  trained: collectionSchema.optional(),
  /** What its index holds. */
  indexed: collectionSchema.optional(),
});

/** A collection as a run remembers it. */
export type Collection = z.output<typeof collectionSchema>;

/** What to call a collection: the name of its folder or list, without a list's extension. */
export function collectionName(path: string): string {
  return basename(resolve(path)).replace(/\.(csv|tsv|jsonl)$/i, "") || "run";
}

export function collectionOf(path: string, samples: readonly Sample[]): Collection {
  const captions = samples.reduce((sum, sample) => sum + sample.captions.length, 0);
  return { path: resolve(path), pictures: samples.length, captions };
}

/** The collections that a run remembers; none where its record is missing or damaged. */
export function readCollections(run: string): z.output<typeof collectionsSchema> {
  try {
    const text = readFileSync(join(run, cliFiles.collections), "utf8");
    return collectionsSchema.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

/** Remembers a collection beside those that the run remembers already. */
export function rememberCollection(
  run: string,
  use: "trained" | "indexed",
  collection: Collection,
): void {
  const collections = { ...readCollections(run), [use]: collection };
  writeJson(join(run, cliFiles.collections), collections);
}

export function writeJson(path: string, value: unknown): void {
  try {
    writeFileSync(path, `${JSON.stringify(value, undefined, 2)}\n`);
  } catch (cause) {
    throw new ClipsmithError(`Cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** The command that goes on with a run. */
export function resumeCommand(run: string): string {
  const { trained } = readCollections(run);
  const collection = trained === undefined ? "COLLECTION" : quote(trained.path);
  return `clipsmith train ${collection} --out ${quote(run)} --resume`;
}

/**
 * Opens a trained model.
 *
 * @throws ClipsmithError if the folder holds none, or its training has not ended.
 */
export async function openModel(run: string, runtime: RuntimeOptions): Promise<Model> {
  const [{ Model, modelFiles }, { runFiles }] = await Promise.all([
    import("../model/index.js"),
    import("../train/index.js"),
  ]);
  if (existsSync(join(run, runFiles.training)) && !existsSync(join(run, modelFiles.weights))) {
    throw new ClipsmithError(
      `${run} holds no trained model yet: its training is under way or was stopped before its end. ` +
        `If it does not run any more, go on with it:\n  ${resumeCommand(run)}`,
    );
  }
  return Model.load(run, runtime);
}
