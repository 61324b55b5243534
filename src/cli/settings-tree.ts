import type { z } from "zod";
import { ClipsmithError } from "../util/errors.js";
import { optionProblems } from "../util/options.js";

/** Settings as they are written, without defaults. */
export interface Tree {
  [name: string]: unknown;
}

/** Settings from one place, such as a file or an option. */
export interface PlacedSettings {
  readonly tree: Tree;
  /** Where the setting with that path of names stands, as `run.yaml:3:5` or `--seed`. */
  place(path: readonly string[]): string;
}

/**
 * Checks settings against a schema.
 *
 * @throws ClipsmithError that says of every one that is unknown or wrong where it stands.
 */
export function checkSettings(schema: z.ZodObject, { tree, place }: PlacedSettings): void {
  const problems = optionProblems(schema, tree);
  if (problems.length === 0) return;
  const lines = problems.map(({ path, message }) => `${place(path)}: ${message}`);
  throw new ClipsmithError(lines.join("\n"));
}

/** For example `clip.textEncDepth=3`, of `--set`; a value that is no JSON is a text. */
export function parseSetting(setting: string): PlacedSettings {
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
  const tree = nested(inModel ? ["model", ...path] : path, value);
  return { tree, place: () => `--set ${setting}` };
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
