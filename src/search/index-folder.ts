import { existsSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { ClipsmithError } from "../util/errors.js";

/** Name of the LanceDB table in an index folder. */
export const TABLE = "pictures";

/** What LanceDB keeps in an index folder: the table, and a list of tables. */
const OWN_FILES = [`${TABLE}.lance`, "__manifest"];

/** The names an index has while it is in use, being built, and being replaced. */
export function pathsOf(folder: string): { current: string; building: string; previous: string } {
  const current = resolve(folder);
  return { current, building: `${current}.building`, previous: `${current}.previous` };
}

/**
 * Refuses a folder that holds anything but an index: replacing it would delete somebody's files.
 *
 * @throws ClipsmithError
 */
export async function checkReplaceable(folder: string): Promise<void> {
  const { current, building, previous } = pathsOf(folder);
  for (const path of [current, building, previous]) {
    if (!existsSync(path)) continue;
    const foreign = (await readdir(path)).find((name) => !OWN_FILES.includes(name));
    if (foreign !== undefined) {
      throw new ClipsmithError(
        `${path} holds ${foreign}, which is no part of a picture index. ` +
          "Choose a folder of its own for the index.",
      );
    }
  }
}

/** Puts the finished index in place of the old one, which survives a kill at any moment. */
export async function swapIn(folder: string): Promise<void> {
  const { current, building, previous } = pathsOf(folder);
  if (existsSync(current)) {
    await rm(previous, { recursive: true, force: true });
    await rename(current, previous);
  }
  try {
    await rename(building, current);
  } catch (error) {
    if (existsSync(previous)) await rename(previous, current);
    throw error;
  }
  await rm(previous, { recursive: true, force: true });
}
