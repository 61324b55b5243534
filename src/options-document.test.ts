import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { clipOptionsSchema } from "./clip/index.js";
import { augmentSchema, trainingOptionsSchema } from "./train/options.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(root, "docs/options.md"), "utf8");

/** Name and default of each option in the table under a heading. */
function documented(heading: string): [name: string, value: string][] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`));
  assert.ok(section, `there is no section "${heading}"`);
  return section
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter(([, name]) => /^`.+`$/.test(name ?? ""))
    .map(([, name, , value]) => [name!.slice(1, -1), value!]);
}

/** Name and default of each option, as a table writes them; of an object within, after it its own. */
function options(schema: z.ZodObject, within = ""): [name: string, value: string][] {
  return Object.entries(schema.shape).flatMap(([key, option]): [string, string][] => {
    const name = within + key;
    const { success, data } = (option as z.ZodType).safeParse(undefined);
    const value = success && data !== undefined ? `\`${JSON.stringify(data)}\`` : "–";
    const inner = option instanceof z.ZodOptional ? option.unwrap() : undefined;
    const parts = inner instanceof z.ZodObject ? options(inner, `${name}.`) : [];
    return [[name, value], ...parts];
  });
}

for (const [heading, schema] of [
  ["The model", clipOptionsSchema],
  ["Training", trainingOptionsSchema],
  ["Changes to pictures", augmentSchema],
] as const) {
  test(`docs/options.md has each option once, with its default: ${heading}`, () => {
    const byName = (list: [string, string][]) => list.toSorted(([a], [b]) => (a < b ? -1 : 1));
    assert.deepEqual(byName(documented(heading)), byName(options(schema)));
  });
}
