import { type FileHandle, open } from "node:fs/promises";
import { ClipsmithError } from "../util/errors.js";
import { STAND_IN_BYTES, standInOf } from "../util/stand-in.js";
import { CHUNK_BYTES } from "../util/write-file.js";

/**
 * Opens a file for reading, and closes it whatever happens.
 *
 * @throws ClipsmithError if it cannot be opened, or only stands for a file that was not fetched
 */
export async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (cause) {
    throw new ClipsmithError(`Cannot open ${path}: ${(cause as Error).message}.`, { cause });
  }
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(STAND_IN_BYTES), { position: 0 });
    const standIn = standInOf(buffer.subarray(0, bytesRead));
    if (standIn !== undefined) throw new ClipsmithError(`${path} is ${standIn}.`);
    return await use(file);
  } finally {
    await file.close();
  }
}

/**
 * Fills `bytes` from the file's byte `position` on.
 *
 * @throws ClipsmithError naming `path` if the file ends before.
 */
export async function readFully(
  path: string,
  file: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(CHUNK_BYTES, bytes.length - done);
    const { bytesRead } = await file.read(bytes, done, length, position + done);
    if (bytesRead === 0) {
      throw new ClipsmithError(
        `${path} became shorter while it was read: expected ${position + bytes.length} bytes, found ${position + done}.`,
      );
    }
    done += bytesRead;
  }
}
