import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { cannotWrite, replaceFile, syncFolder } from "../util/write-file.js";
import {
  readSafetensors,
  readSafetensorsHeader,
  type SafetensorsTensor,
  writeSafetensors,
} from "../weights/safetensors.js";

/** A tensor of a checkpoint, row-major. */
export interface CheckpointTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** What JSON can say; what is undefined is left out. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** Everything a run needs to go on after step `step`. */
export interface Checkpoint {
  readonly step: number;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly state: Json;
}

/** A checkpoint that was read, and the folder it was read from. */
export interface SavedCheckpoint extends Checkpoint {
  readonly path: string;
}

export interface KeepOptions {
  /** How many of the newest stay, the one that is saved counted. Default 2. */
  readonly keep?: number;
  /** The step of one that stays however old it is: the best by some measure. */
  readonly best?: number;
}

const TENSORS = "tensors.safetensors";
const STATE = "state.json";
/** The two files' SHA-256, as `sha256sum --check` reads them. */
const SUMS = "SHA256SUMS";
/** `.tmp`: being written. `.old`: being replaced by another checkpoint of the same step. */
const NAME = /^step-(\d{8,})(\.tmp|\.old)?$/;

interface Entry {
  readonly step: number;
  readonly path: string;
  readonly suffix: string;
}

/** The folder of a step's checkpoint, inside the folder of all. */
export function checkpointPath(folder: string, step: number): string {
  return join(folder, `step-${String(step).padStart(8, "0")}`);
}

/**
 * Writes the checkpoint to `folder/step-00001234/` (the folder is made if need be), then removes
 * earlier ones beyond the newest `keep`, but for the best. Checkpoints of later steps are left alone.
 *
 * A process killed at any moment leaves the earlier checkpoints usable: the new one is written and
 * flushed under a temporary name, then renamed. Only one process may save to a folder at a time.
 *
 * @returns the checkpoint's own folder
 * @throws ClipsmithError when it cannot be written; what was there before is kept. Of a full disk the
 *   message says how many bytes the checkpoint needs and how many are free.
 */
export async function saveCheckpoint(
  folder: string,
  { step, tensors, state }: Checkpoint,
  { keep = 2, best }: KeepOptions = {},
): Promise<string> {
  const path = checkpointPath(folder, step);
  const temporary = `${path}.tmp`;
  const json = Buffer.from(`${JSON.stringify({ step, state }, undefined, 2)}\n`);
  try {
    // A new folder's own name has to outlive a power cut, too.
    if (await mkdir(folder, { recursive: true })) await syncFolder(dirname(folder));
    for (const { path, suffix } of await list(folder)) {
      if (suffix === ".tmp") await rm(path, { recursive: true });
    }
    await mkdir(temporary);
    const typed = new Map<string, SafetensorsTensor>();
    for (const [name, { shape, data }] of tensors) {
      const tensor: SafetensorsTensor =
        data instanceof Float32Array
          ? { dtype: "F32", shape, data }
          : { dtype: "I32", shape, data };
      typed.set(name, tensor);
    }
    const sums = sumsOf({
      [TENSORS]: await writeSafetensors(join(temporary, TENSORS), typed),
      [STATE]: await replaceFile(join(temporary, STATE), [json]),
    });
    await replaceFile(join(temporary, SUMS), [Buffer.from(sums)]);
    if (await faultOf(path, step)) {
      await rm(path, { recursive: true, force: true });
    } else {
      // A folder cannot replace another in one go: the old one stays within reach until the new is there.
      await rm(`${path}.old`, { recursive: true, force: true });
      await rename(path, `${path}.old`);
    }
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    const cause = error instanceof ClipsmithError ? error.cause : error;
    if (cause === undefined) throw error;
    const numbers = [...tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
    throw await cannotWrite(path, numbers + json.length, cause);
  }
  await prune(folder, step, keep, best);
  return path;
}

/**
 * Reads the checkpoint of the highest step that is whole, to the last bit.
 *
 * @returns with a warning for each temporary or damaged checkpoint that was passed over
 * @throws ClipsmithError when there are checkpoints, but all of them are damaged
 */
export async function latestCheckpoint(
  folder: string,
): Promise<{ latest: SavedCheckpoint | undefined; warnings: string[] }> {
  const warnings: string[] = [];
  const faults: string[] = [];
  let latest: SavedCheckpoint | undefined;
  for (const { step, path, suffix } of await list(folder)) {
    if (suffix === ".tmp") {
      warnings.push(`${path} is ignored: the process that wrote it was stopped before the end.`);
      continue;
    }
    if (latest) continue;
    try {
      const found = await loadCheckpoint(path);
      if (found.step !== step) {
        throw new ClipsmithError(`${join(path, STATE)} is of step ${found.step}.`);
      }
      latest = found;
    } catch (error) {
      if (!(error instanceof ClipsmithError)) throw error;
      faults.push(`${path} is ignored: it is damaged. ${error.message}`);
    }
  }
  if (!latest && faults.length > 0) {
    throw new ClipsmithError(
      `No checkpoint in ${folder} is whole:\n${faults.map((fault) => `  ${fault}\n`).join("")}` +
        "Put back a copy of one, or remove this folder to go on from the run's start.",
    );
  }
  warnings.push(...faults.map((fault) => `${fault} Starting from step ${latest?.step} instead.`));
  return { latest, warnings };
}

/**
 * Reads the checkpoint in a folder of its own, and compares its files with their SHA-256.
 *
 * @throws ClipsmithError when it is damaged or not a checkpoint
 */
export async function loadCheckpoint(path: string): Promise<SavedCheckpoint> {
  await checkSums(path);
  const { step, state } = await readState(path);
  const file = join(path, TENSORS);
  const tensors = new Map<string, CheckpointTensor>();
  for (const [name, { dtype, shape, data }] of (await readSafetensors(file)).tensors) {
    if (dtype !== "F32" && dtype !== "I32") {
      throw new ClipsmithError(
        `${file} is not of a checkpoint: tensor ${name}: expected F32 or I32, found ${dtype}.`,
      );
    }
    tensors.set(name, { shape, data });
  }
  return { path, step, tensors, state };
}

/** The step of the newest checkpoint, unread; undefined where there is none. */
export async function newestStep(folder: string): Promise<number | undefined> {
  return (await list(folder)).find(({ suffix }) => suffix !== ".tmp")?.step;
}

/** What the newest checkpoint says of its run, its tensors unseen; undefined where there is none. */
export async function newestState(folder: string): Promise<Json | undefined> {
  const newest = (await list(folder)).find(({ suffix }) => suffix === "");
  if (newest === undefined) return undefined;
  const state = await readState(newest.path).catch(() => undefined);
  return state?.state;
}

/** The checkpoints by falling step; one that replaced another comes before it. */
async function list(folder: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new ClipsmithError(`Cannot list ${folder}: ${messageOf(error)}.`, { cause: error });
  }
  for (const name of names) {
    const match = NAME.exec(name);
    if (!match) continue;
    entries.push({ path: join(folder, name), step: Number(match[1]), suffix: match[2] ?? "" });
  }
  return entries.sort((a, b) => b.step - a.step || a.suffix.length - b.suffix.length);
}

/** Of the checkpoints up to `step`, only complete ones count as kept, and one of each step. */
async function prune(
  folder: string,
  step: number,
  keep: number,
  best: number | undefined,
): Promise<void> {
  const kept = new Set([step]);
  let wanted = keep - 1;
  for (const entry of await list(folder)) {
    if (entry.step > step || (entry.step === step && entry.suffix === "")) continue;
    const candidate = !kept.has(entry.step) && (wanted > 0 || entry.step === best);
    if (candidate && (await faultOf(entry.path, entry.step)) === undefined) {
      kept.add(entry.step);
      wanted--;
    } else await rm(entry.path, { recursive: true });
  }
}

/** What is wrong with a checkpoint at a glance, which reads no numbers; undefined for nothing. */
async function faultOf(path: string, step: number): Promise<string | undefined> {
  try {
    const state = await readState(path);
    if (state.step !== step) return `Its ${STATE} is of step ${state.step}.`;
    await readSafetensorsHeader(join(path, TENSORS));
    await readText(join(path, SUMS));
    return undefined;
  } catch (error) {
    if (error instanceof ClipsmithError) return error.message;
    throw error;
  }
}

async function readState(path: string): Promise<{ step: number; state: Json }> {
  const file = join(path, STATE);
  const text = await readText(file);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new ClipsmithError(`Cannot read ${file}: ${messageOf(cause)}.`, { cause });
  }
  if (typeof parsed !== "object" || parsed === null || !("step" in parsed && "state" in parsed)) {
    throw new ClipsmithError(`${file} is not of a checkpoint: expected a step and a state.`);
  }
  return parsed as { step: number; state: Json };
}

/** The lines of {@link SUMS} for files by name. */
function sumsOf(sums: Readonly<Record<string, string>>): string {
  return Object.entries(sums)
    .map(([name, sum]) => `${sum}  ${name}\n`)
    .join("");
}

/** Throws ClipsmithError unless all files are those that were written. */
async function checkSums(path: string): Promise<void> {
  const sums = join(path, SUMS);
  const written = await readText(sums);
  let expected = "";
  for (const name of [TENSORS, STATE]) {
    const file = join(path, name);
    const line = sumsOf({ [name]: await sumOf(file) });
    if (!written.includes(line)) {
      throw new ClipsmithError(
        `The bytes of ${file} have changed since they were written: its SHA-256 is not that in ${SUMS}.`,
      );
    }
    expected += line;
  }
  if (written !== expected) {
    throw new ClipsmithError(`${sums} holds more than the sums of ${TENSORS} and ${STATE}.`);
  }
}

async function sumOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(file, { highWaterMark: 2 ** 20 }), hash);
  } catch (cause) {
    throw new ClipsmithError(`Cannot read ${file}: ${messageOf(cause)}.`, { cause });
  }
  return hash.digest("hex");
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new ClipsmithError(`Cannot read ${file}: ${messageOf(cause)}.`, { cause });
  }
}
