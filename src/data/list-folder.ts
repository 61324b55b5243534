import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { compare } from "./compare.js";
import { isLitter } from "./litter.js";

/** Names in a folder, sorted; links are followed. */
export interface FolderContents {
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** Links that lead nowhere. */
  readonly broken: readonly string[];
  /** Of hidden names, or left there by a system: see {@link isLitter}. They are in no other list. */
  readonly litter: { readonly files: readonly string[]; readonly folders: readonly string[] };
}

/** What is in a folder. */
export async function listFolder(folder: string): Promise<FolderContents> {
  const files: string[] = [];
  const folders: string[] = [];
  const broken: string[] = [];
  const litter = { files: [] as string[], folders: [] as string[] };
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => compare(a.name, b.name))) {
    const { name } = entry;
    if (isLitter(name)) {
      if (entry.isFile()) litter.files.push(name);
      else if (entry.isDirectory()) litter.folders.push(name);
      continue;
    }
    const kind = entry.isSymbolicLink()
      ? await stat(join(folder, name)).catch(() => undefined)
      : entry;
    if (kind === undefined) broken.push(name);
    else if (kind.isFile()) files.push(name);
    else if (kind.isDirectory()) folders.push(name);
  }
  return { files, folders, broken, litter };
}
