import type { z } from "zod";
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
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => unknownOption(key, Object.keys(schema.shape)));
    }
    const path = issue.path.join(".");
    return [path === "" ? issue.message : `${path}: ${issue.message}`];
  });
  throw new ClipsmithError(`${where}: ${problems.join("; ")}`);
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
