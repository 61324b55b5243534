import { z } from "zod";
import { ClipsmithError } from "./errors.js";
import { isObject } from "./is-object.js";
import { inWords, optionType } from "./option-type.js";

/** One thing that is wrong with options. */
export interface OptionProblem {
  /** Names from the outermost object to the option. */
  readonly path: readonly string[];
  /** What is wrong, and what is allowed; with the path in front, unless that is empty. */
  readonly message: string;
}

/**
 * Checks options against a schema and fills in its defaults.
 *
 * @param where what the options are for, as the message should call it.
 * @throws ClipsmithError naming every option that is unknown (with the nearest known name) or wrong (with
 *   what was given and what is allowed).
 */
export function parseOptions<S extends z.ZodObject>(
  schema: S,
  options: unknown,
  where: string,
): z.infer<S> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  const problems = problemsOf(schema, options, result.error.issues);
  throw new ClipsmithError(`${where}: ${problems.map(({ message }) => message).join("; ")}`);
}

/** All that is wrong with options, nothing if they fit. */
export function optionProblems(schema: z.ZodObject, options: unknown): OptionProblem[] {
  const { error } = schema.safeParse(options);
  return error ? problemsOf(schema, options, error.issues) : [];
}

function problemsOf(
  schema: z.ZodObject,
  options: unknown,
  issues: readonly z.core.$ZodIssue[],
): OptionProblem[] {
  const problems = issues.flatMap((issue) => {
    const { path, option, value } = optionAt(schema, options, issue.path);
    const told = (message: string, within = path) => ({
      path: within,
      message: path.length > 0 ? `${path.join(".")}: ${message}` : message,
    });
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => {
        const within = option instanceof z.ZodObject ? pathWithin(option, key) : undefined;
        const known = option instanceof z.ZodObject ? Object.keys(option.shape) : [];
        const message = within
          ? `there is no option "${key}"; did you mean "${within.join(".")}"?`
          : unknownOption(key, known);
        return told(message, [...path, key]);
      });
    }
    const isGiven = value !== undefined;
    const given = isGiven ? `, got ${written(value)}` : "";
    // What a schema's author says of several values together is not about any one of them.
    if (issue.code === "custom") return told(issue.message + (isObject(value) ? "" : given));
    return told(`${isGiven ? "" : "missing; "}expected ${inWords(option)}${given}`);
  });
  // Two numbers of one list that are both wrong are one wrong option.
  const byMessage = new Map(problems.map((problem) => [problem.message, problem]));
  return [...byMessage.values()];
}

/** The innermost option on the way to a value, and what was given for it. */
function optionAt(schema: z.ZodObject, options: unknown, path: readonly PropertyKey[]) {
  let option: z.ZodType = schema;
  let value = options;
  const names: string[] = [];
  for (const key of path) {
    if (!(option instanceof z.ZodObject)) break;
    const inner: unknown = option.shape[String(key)];
    if (!(inner instanceof z.ZodType)) break;
    option = optionType(inner);
    value = isObject(value) ? value[String(key)] : undefined;
    names.push(String(key));
  }
  return { path: names, option, value };
}

/** Where an option of that very name is, at any depth. */
function pathWithin(schema: z.ZodObject, name: string): string[] | undefined {
  if (Object.hasOwn(schema.shape, name)) return [name];
  for (const [outer, inner] of Object.entries(schema.shape)) {
    const type = optionType(inner as z.ZodType);
    const path = type instanceof z.ZodObject ? pathWithin(type, name) : undefined;
    if (path) return [outer, ...path];
  }
  return undefined;
}

/** A value as a message shows it. JSON knows no NaN or infinity. */
function written(value: unknown): string {
  const text = (typeof value !== "number" && JSON.stringify(value)) || String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Says that there is no such option, and which one was perhaps meant. */
export function unknownOption(name: string, known: readonly string[]): string {
  const [nearest] = known
    .map((option) => ({ option, distance: editDistance(name.toLowerCase(), option.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const close = nearest !== undefined && nearest.distance <= Math.max(2, name.length / 3);
  return `there is no option "${name}"${close ? `; did you mean "${nearest.option}"?` : ""}`;
}

/** Number of single-letter changes between two words (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + Number(a[i - 1] !== b[j - 1]);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
