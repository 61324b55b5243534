import { stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, parse, relative, resolve, sep } from "node:path";
import { listFolder } from "./list-folder.js";
import { kindOfFile } from "./picture-kinds.js";

/** Folders above a list's are looked into this deep: a list lies beside its pictures, or in a folder beside them. */
const DEPTH_ABOVE = 3;

/** The file at `path`, however its name's accented letters are composed: systems differ in that. */
export async function findFile(path: string): Promise<string | undefined> {
  for (const candidate of new Set([path, path.normalize("NFC"), path.normalize("NFD")])) {
    const kind = await stat(candidate).catch(() => undefined);
    if (kind?.isFile()) return candidate;
  }
  return undefined;
}

/** Where a picture of a list is, or why it is not taken. */
export type FoundPicture =
  | { readonly file: string; readonly isExact: boolean }
  | { readonly problem: string };

/**
 * Finds the pictures that a list names: where it says; or else by name in the folders below the list's, or those
 * beside it where there is no picture below. So lists are understood that name pictures without their folder,
 * without their ending, or by the path that they had on another machine. Folders are read only once a picture is
 * not where the list says.
 */
export class PictureFinder {
  readonly #base: string;
  #below: Promise<string[]> | undefined;
  #index: Promise<PictureNames> | undefined;

  /** @param base the folder of the list, or the collection's */
  constructor(base: string) {
    this.#base = base;
  }

  get base(): string {
    return this.#base;
  }

  /** What to call a place of pictures in a note: relative to the base. */
  nameOf(folder: string): string {
    const name = relative(this.#base, folder) || ".";
    return `${name.split(sep).join("/")}/`;
  }

  async find(written: string): Promise<FoundPicture> {
    const exact = await findFile(resolve(this.#base, written));
    if (exact !== undefined) return { file: exact, isExact: true };
    const parts = partsOf(written);
    if (parts.length > 1 && !isAbsolutePath(written)) {
      const turned = await findFile(join(this.#base, ...parts));
      if (turned !== undefined) return { file: turned, isExact: true };
    }
    this.#index ??= this.#read();
    const found = (await this.#index).find(parts);
    if (found !== undefined) return found;
    return { problem: `the picture does not exist: ${resolve(this.#base, written)}` };
  }

  /** All pictures below the base. */
  below(): Promise<string[]> {
    this.#below ??= picturesBelow(this.#base);
    return this.#below;
  }

  async #read(): Promise<PictureNames> {
    const below = await this.below();
    if (below.length > 0) return new PictureNames(below);
    const above = dirname(this.#base);
    // Everything that a person or a machine has is no collection.
    const isTooWide = above === homedir() || dirname(above) === above;
    return new PictureNames(isTooWide ? [] : await picturesBelow(above, DEPTH_ABOVE));
  }
}

/** Pictures by the last parts of their paths. */
class PictureNames {
  readonly #byName = new Map<string, string[]>();
  readonly #byStem = new Map<string, string[]>();

  constructor(pictures: readonly string[]) {
    for (const picture of pictures) {
      const name = key(basename(picture));
      add(this.#byName, name, picture);
      add(this.#byStem, parse(name).name, picture);
    }
  }

  find(parts: readonly string[]): FoundPicture | undefined {
    const name = key(parts.at(-1) ?? "");
    const stem = kindOfFile(name) === "picture" ? parse(name).name : name;
    const candidates = this.#byName.get(name) ?? this.#byStem.get(stem) ?? [];
    if (candidates.length === 0) return undefined;
    const folders = parts.slice(0, -1).map(key);
    const shared = candidates.map((path) => sharedFolders(path, folders));
    const most = Math.max(...shared);
    const best = candidates.filter((_, i) => shared[i] === most);
    if (best.length === 1) return { file: best[0]!, isExact: false };
    return {
      problem: `several pictures have this name: ${best.slice(0, 3).join(", ")}`,
    };
  }
}

/** How many of a path's last folders are those that a list has, from the picture on. */
function sharedFolders(path: string, folders: readonly string[]): number {
  const own = dirname(path).split(/[\\/]/).map(key);
  let count = 0;
  while (count < folders.length && own.at(-1 - count) === folders.at(-1 - count)) count++;
  return count;
}

function key(name: string): string {
  return name.normalize("NFC").toLowerCase();
}

function add(map: Map<string, string[]>, name: string, picture: string): void {
  const known = map.get(name);
  if (known === undefined) map.set(name, [picture]);
  else known.push(picture);
}

/** The parts of a path as any system writes it, without a drive and what is no name. */
function partsOf(written: string): string[] {
  return written
    .replace(/^file:\/+/i, "/")
    .split(/[\\/]+/)
    .filter((part) => part !== "" && part !== "." && part !== ".." && !/^[a-z]:$/i.test(part));
}

function isAbsolutePath(written: string): boolean {
  return /^([a-z]:|[\\/]|file:)/i.test(written);
}

/** The pictures in a folder and those below it, by their endings. */
async function picturesBelow(folder: string, depth = Number.POSITIVE_INFINITY): Promise<string[]> {
  const pictures: string[] = [];
  const open = [{ folder, depth }];
  const seen = new Set<string>();
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen.has(next.folder)) continue;
    seen.add(next.folder);
    const contents = await listFolder(next.folder).catch(() => undefined);
    for (const name of contents?.files ?? []) {
      if (kindOfFile(name) === "picture") pictures.push(join(next.folder, name));
    }
    if (next.depth <= 0) continue;
    for (const name of contents?.folders ?? []) {
      open.push({ folder: join(next.folder, name), depth: next.depth - 1 });
    }
  }
  return pictures.sort();
}
