import { readFileSync } from "node:fs";
import { ClipsmithError, messageOf } from "../util/errors.js";

/** Settings as they are written, without defaults. */
export interface Tree {
  [name: string]: unknown;
}

/** Settings in a JSON file. Throws ClipsmithError if it cannot be read. */
export function readConfig(path: string): Tree {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new ClipsmithError(`Cannot read the settings in ${path}: ${messageOf(cause)}`, { cause });
  }
  if (!isTree(value)) throw new ClipsmithError(`${path} must hold a JSON object.`);
  return value;
}

/** For example `clip.textEncDepth=3`; a value that is no JSON is a text. */
export function parseSetting(setting: string): Tree {
  const [, name, text] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
  if (name === undefined || text === undefined) {
    throw new ClipsmithError(
      `--set ${setting}: expected a path and a value, such as clip.textEncDepth=3`,
    );
  }
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // A text, such as "contain".
  }
  const path = name.trim().split(".");
  const inModel = path[0] === "clip" || path[0] === "preprocessing";
  return nested(inModel ? ["model", ...path] : path, value);
}

/** A tree with one value, at a path. */
export function nested(path: readonly string[], value: unknown): Tree {
  const [name, ...rest] = path;
  return { [name!]: rest.length === 0 ? value : nested(rest, value) };
}

/** `over` laid on `under`, which stays as it is. */
export function merge(under: Tree, over: Tree): Tree {
  const merged: Tree = { ...under };
  for (const [name, value] of Object.entries(over)) {
    const below = merged[name];
    merged[name] = isTree(value) && isTree(below) ? merge(below, value) : value;
  }
  return merged;
}

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
