import { constants } from "node:fs";
import { access, lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { makeFolders } from "../util/make-folders.js";
import { TRAINING_FILE } from "./configuration.js";

/** Names inside a run's folder, which is also the model's. */
export const runFiles = {
  training: TRAINING_FILE,
  metrics: "metrics.jsonl",
  skipped: "skipped.jsonl",
  badBatches: "bad-batches.jsonl",
  tensorboard: "tensorboard",
  checkpoints: "checkpoints",
  lock: "train.lock",
} as const;

/**
 * Makes the folder of a run, if need be.
 *
 * @throws ClipsmithError if it cannot be made or written to
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await makeFolders(folder);
    await access(folder, constants.W_OK);
    await readdir(folder);
  } catch (cause) {
    const reason = await reasonOf(cause as NodeJS.ErrnoException);
    throw new ClipsmithError(
      `Cannot use ${folder} as the folder of the run: ${reason}. Choose another by --out.`,
      { cause },
    );
  }
}

/** Why a folder could not be made or read. */
async function reasonOf(error: NodeJS.ErrnoException): Promise<string> {
  const { code, path = "" } = error;
  if (code === "EACCES" || code === "EPERM") return "permission is denied";
  if (code === "ENOENT") return `no folder can be made as ${path}`;
  if (code !== "EEXIST" && code !== "ENOTDIR") return messageOf(error);
  const found = await lstat(path).catch(() => undefined);
  return found?.isSymbolicLink()
    ? `${path} is a link to what is not there, or no folder`
    : "it is a file, or inside of one";
}

/** Throws ClipsmithError unless a new run may be written to the folder, which is made if need be. */
export async function checkFolder(folder: string, overwrite: boolean): Promise<void> {
  await makeFolder(folder);
  const files = (await readdir(folder)).filter((file) => file !== runFiles.lock);
  if (files.length === 0) return;
  if (!files.includes(runFiles.training)) {
    throw new ClipsmithError(
      `${folder} is not empty and holds no run. Choose another folder by --out.`,
    );
  }
  if (!overwrite) {
    throw new ClipsmithError(
      `${folder} already holds a run. Go on with it by --resume, replace it by --overwrite, ` +
        "or choose another folder by --out.",
    );
  }
}

/** Empties the folder of a run but for its lock; the file that marks it as one goes last. */
export async function clearFolder(folder: string): Promise<void> {
  const files = (await readdir(folder)).filter(
    (file) => file !== runFiles.training && file !== runFiles.lock,
  );
  for (const file of [...files, runFiles.training]) {
    await rm(join(folder, file), { recursive: true, force: true });
  }
}
