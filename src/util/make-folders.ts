import { existsSync } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes a folder and those it is in, as far as they are not there. Node's own way, `recursive`, never ends
 * where a folder is there and lets none be made inside of it, as /proc does.
 *
 * @throws the error of the file system, with the `path` that could not be made
 */
export async function makeFolders(path: string): Promise<void> {
  const parent = dirname(path);
  if (parent !== path && !existsSync(parent)) await makeFolders(parent);
  try {
    await mkdir(path);
  } catch (error) {
    const found = await stat(path).catch(() => undefined);
    if (!found?.isDirectory()) throw error;
  }
}
