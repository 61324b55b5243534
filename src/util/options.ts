import { z } from "zod";
import { ClipsmithError } from "./errors.js";

/**
 * Checks options against a schema and fills in its defaults.
 *
 * @param where what the options are for, as the message should call it.
 * @throws ClipsmithError naming every option that is unknown (with the nearest known name) or wrong.
 */
export function parseOptions<S extends z.ZodObject>(
  schema: S,
  options: unknown,
  where: string,
): z.infer<S> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue) => {
    const path = issue.path.join(".");
    const messages =
      issue.code === "unrecognized_keys"
        ? issue.keys.map((key) => unknownOption(key, optionsAt(schema, issue.path)))
        : [issue.message];
    return messages.map((message) => (path === "" ? message : `${path}: ${message}`));
  });
  throw new ClipsmithError(`${where}: ${problems.join("; ")}`);
}

/** Names of the options of the object at a path inside a schema. */
function optionsAt(schema: z.ZodObject, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const key of path) {
    at = at instanceof z.ZodObject ? at.shape[String(key)] : undefined;
    while (
      at instanceof z.ZodDefault ||
      at instanceof z.ZodPrefault ||
      at instanceof z.ZodOptional
    ) {
      at = at.unwrap();
    }
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
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
