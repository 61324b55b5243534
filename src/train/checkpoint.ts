import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import {
  readSafetensors,
  readSafetensorsHeader,
  type SafetensorsTensor,
  writeSafetensors,
} from "../weights/safetensors.js";
import { replaceFile, syncFolder } from "../weights/write-file.js";

/** A tensor of a checkpoint, row-major. */
export interface CheckpointTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** What JSON can say. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** Everything a run needs to go on after step `step`. */
export interface Checkpoint {
  readonly step: number;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly state: Json;
}

export interface CheckpointPlace {
  readonly step: number;
  /** The checkpoint's own folder. */
  readonly path: string;
}

const TENSORS = "tensors.safetensors";
const STATE = "state.json";
/** `.tmp`: being written. `.old`: being replaced by another checkpoint of the same step. */
const NAME = /^step-(\d{8,})(\.tmp|\.old)?$/;

interface Entry extends CheckpointPlace {
  readonly suffix: string;
}

/**
 * Writes the checkpoint to `folder/step-00001234/` (the folder is made if need be), then removes
 * earlier ones beyond the newest `keep`, this one counted. Checkpoints of later steps are left alone.
 *
 * A process killed at any moment leaves the earlier checkpoints usable: the new one is written and
 * flushed under a temporary name, then renamed. Only one process may save to a folder at a time.
 *
 * @returns the checkpoint's own folder
 * @throws ClipsmithError when it cannot be written; what was there before is kept
 */
export async function saveCheckpoint(
  folder: string,
  { step, tensors, state }: Checkpoint,
  { keep = 2 }: { readonly keep?: number } = {},
): Promise<string> {
  await makeFolder(folder);
  for (const { path, suffix } of await list(folder)) {
    if (suffix === ".tmp") await rm(path, { recursive: true });
  }
  const path = join(folder, `step-${String(step).padStart(8, "0")}`);
  const temporary = `${path}.tmp`;
  try {
    await makeFolder(temporary);
    const typed = new Map<string, SafetensorsTensor>();
    for (const [name, { shape, data }] of tensors) {
      const tensor: SafetensorsTensor =
        data instanceof Float32Array
          ? { dtype: "F32", shape, data }
          : { dtype: "I32", shape, data };
      typed.set(name, tensor);
    }
    await writeSafetensors(join(temporary, TENSORS), typed);
    const json = JSON.stringify({ step, state }, undefined, 2);
    await replaceFile(join(temporary, STATE), [Buffer.from(`${json}\n`)]);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  if (await faultOf(path, step)) {
    await rm(path, { recursive: true, force: true });
  } else {
    // A folder cannot replace another in one go: the old one stays within reach until the new is there.
    await rm(`${path}.old`, { recursive: true, force: true });
    await rename(path, `${path}.old`);
  }
  await rename(temporary, path);
  await syncFolder(folder);
  await prune(folder, step, keep);
  return path;
}

/**
 * The checkpoint of the highest step that is complete. Whether it is, is told from its state, the
 * header of its tensors and the length of their file; numbers are not read.
 *
 * @returns with a warning for each temporary or damaged checkpoint that was passed over
 */
export async function latestCheckpoint(
  folder: string,
): Promise<{ latest: CheckpointPlace | undefined; warnings: string[] }> {
  const warnings: string[] = [];
  let latest: CheckpointPlace | undefined;
  for (const { step, path, suffix } of await list(folder)) {
    if (suffix === ".tmp") {
      warnings.push(`${path} is ignored: the process that wrote it was stopped before the end.`);
      continue;
    }
    if (latest) continue;
    const fault = await faultOf(path, step);
    if (fault === undefined) latest = { step, path };
    else warnings.push(`${path} is ignored: it is damaged. ${fault}`);
  }
  return { latest, warnings };
}

/**
 * Reads the checkpoint in the folder `path`, such as {@link latestCheckpoint} finds.
 *
 * @throws ClipsmithError when it is damaged or not a checkpoint
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
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
  return { step, tensors, state };
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (cause) {
    throw new ClipsmithError(`Cannot make the folder ${path}: ${messageOf(cause)}.`, { cause });
  }
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
async function prune(folder: string, step: number, keep: number): Promise<void> {
  const kept = new Set([step]);
  for (const entry of await list(folder)) {
    if (entry.step > step || (entry.step === step && entry.suffix === "")) continue;
    const wanted = kept.size < keep && !kept.has(entry.step);
    if (wanted && (await faultOf(entry.path, entry.step)) === undefined) kept.add(entry.step);
    else await rm(entry.path, { recursive: true });
  }
}

/** What is wrong with a checkpoint; undefined for nothing. */
async function faultOf(path: string, step: number): Promise<string | undefined> {
  try {
    const state = await readState(path);
    if (state.step !== step) return `Its ${STATE} is of step ${state.step}.`;
    await readSafetensorsHeader(join(path, TENSORS));
    return undefined;
  } catch (error) {
    if (error instanceof ClipsmithError) return error.message;
    throw error;
  }
}

async function readState(path: string): Promise<{ step: number; state: Json }> {
  const file = join(path, STATE);
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    throw new ClipsmithError(`Cannot read ${file}: ${messageOf(cause)}.`, { cause });
  }
  if (typeof parsed !== "object" || parsed === null || !("step" in parsed && "state" in parsed)) {
    throw new ClipsmithError(`${file} is not of a checkpoint: expected a step and a state.`);
  }
  return parsed as { step: number; state: Json };
}
