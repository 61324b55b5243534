import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { isAddress } from "../data/captions.js";
import type { ColumnOptions } from "../data/columns.js";
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
  /** Absolute path, or address. */
  path: z.string(),
  /** How many there were, where that is known beforehand. */
  pictures: z.int().optional(),
  captions: z.int().optional(),
  /** Columns, where they were named. */
  pictureColumn: z.string().optional(),
  captionColumn: z.string().optional(),
});

const collectionsSchema = z.object({
  /** What the model was trained on. */
  trained: z.array(collectionSchema).optional(),
  /** What it was validated on, if that was a collection of its own. */
  validated: collectionSchema.optional(),
  /** Most tokens that its tokenizer was trained to have, where that was chosen. */
  vocabularySize: z.int().optional(),
  /** What its index holds; earlier versions had one alone. */
  indexed: z
    .union([z.array(collectionSchema), collectionSchema.transform((only) => [only])])
    .optional(),
});

/** A collection as a run remembers it. */
export type Collection = z.output<typeof collectionSchema>;

/**
 * What to call a collection: the name of its folder or list, without a list's extension; or of the folder
 * that its files are in, where braces name several.
 */
export function collectionName(spec: string): string {
  const path = isAddress(spec) ? withoutQuery(spec).replace(/^[^:]*:\/\//, "/") : resolve(spec);
  const name = basename(path).includes("{") ? basename(dirname(path)) : basename(path);
  return (
    name
      .replace(/\.(csv|tsv|jsonl|ndjson|json|txt|token|zip|tar|tar\.gz|tgz|parquet)$/i, "")
      .replace(/[{}]/g, "") || "run"
  );
}

/**
 * A collection to be remembered. Of one in shards nobody knows the size before it is read; what signs an
 * address is not remembered.
 */
export function collectionOf(
  spec: string,
  samples?: readonly Sample[],
  columns: ColumnOptions = {},
): Collection {
  const path = isAddress(spec) ? withoutQuery(spec) : resolve(spec);
  if (samples === undefined) return { path, ...columns };
  const captions = samples.reduce((sum, sample) => sum + sample.captions.length, 0);
  return { path, pictures: samples.length, captions, ...columns };
}

/** An address without what may sign it; any other word as it is. */
export function withoutQuery(address: string): string {
  return /^https?:/i.test(address) ? address.replace(/[?#].*$/s, "") : address;
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

/** Remembers collections beside those that the run remembers already. */
export function rememberCollections(run: string, use: z.output<typeof collectionsSchema>): void {
  writeJson(join(run, cliFiles.collections), { ...readCollections(run), ...use });
}

/** Replaces a file as a whole, so that a full disk does not cost the old one. */
export function writeJson(path: string, value: unknown): void {
  try {
    writeFileSync(`${path}.tmp`, `${JSON.stringify(value, undefined, 2)}\n`);
    renameSync(`${path}.tmp`, path);
  } catch (cause) {
    throw new ClipsmithError(`Cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** The command that goes on with a run. */
export function resumeCommand(run: string): string {
  const { trained, validated } = readCollections(run);
  const collections = trained?.map(({ path }) => quote(path)) ?? ["COLLECTION"];
  const validation = validated === undefined ? "" : ` --validation ${quote(validated.path)}`;
  return `clipsmith train ${collections.join(" ")}${validation} --out ${quote(run)} --resume`;
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
