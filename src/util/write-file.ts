import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { ClipsmithError, messageOf } from "./errors.js";

/** Most bytes handed to one system call, which take no more than 2 GiB. */
export const CHUNK_BYTES = 2 ** 28;

/** No space, over quota, over the limit of a file's size. */
const FULL = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/**
 * Replaces a file as a whole: writes `parts` to a temporary file beside it, flushes that to the disk
 * and renames it. Whatever happens, the path holds either the old content or the new.
 *
 * @returns the SHA-256 of the new content, in hexadecimal digits
 * @throws ClipsmithError when it cannot be written; of a full disk the message says how many bytes
 *   were needed
 */
export async function replaceFile(path: string, parts: readonly Uint8Array[]): Promise<string> {
  const hash = createHash("sha256");
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx");
    try {
      for (const part of parts) {
        await writeFully(file, part);
        hash.update(part);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    const needed = parts.reduce((sum, part) => sum + part.byteLength, 0);
    const failure = await cannotWrite(path, needed, error);
    await rm(temporary, { force: true });
    throw failure;
  }
  await syncFolder(dirname(path));
  return hash.digest("hex");
}

/** What to throw where writing `needed` bytes to `path` failed: of a full disk, it says how full. */
export async function cannotWrite(
  path: string,
  needed: number,
  cause: unknown,
): Promise<ClipsmithError> {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === undefined || !FULL.has(code)) {
    return new ClipsmithError(`Cannot write ${path}: ${messageOf(cause)}.`, { cause });
  }
  return new ClipsmithError(
    `No room for ${path}: it needs ${needed} bytes, and ${await freeBytes(dirname(path))} are free on that disk (${code}). Make room or choose another folder; what was there before is unchanged.`,
    { cause },
  );
}

/** Flushes a folder's list of names to the disk, so that a rename outlives a power cut. */
export async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders, and journals renames itself.
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const length = Math.min(CHUNK_BYTES, bytes.byteLength - done);
    // A full disk first writes less than asked, and only the next call fails.
    done += (await file.write(bytes, done, length)).bytesWritten;
  }
}

async function freeBytes(folder: string): Promise<number> {
  // A folder that could not be made is one whose parent is full.
  const { bavail, bsize } = await statfs(folder).catch(() => statfs(dirname(folder)));
  return bavail * bsize;
}
