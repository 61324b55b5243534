import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { clipOptionsSchema } from "./clip/index.js";
import { embedOptionsSchema } from "./embed/index.js";
import { preprocessingSchema } from "./model/index.js";
import { augmentSchema, trainingOptionsSchema } from "./train/options.js";
import { runConfigSchema } from "./train/run-config.js";
import { describeType } from "./util/option-type.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(root, "docs/options.md"), "utf8");

type Row = [name: string, type: string, value: string];

/** Name, type and default of each option in the table under a heading. */
function documented(heading: string): Row[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`));
  assert.ok(section, `there is no section "${heading}"`);
  return section
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter(([, name]) => /^`.+`$/.test(name ?? ""))
    .map(([, name, type, value]) => [name!.slice(1, -1), type!.replaceAll("`", ""), value!]);
}

/** Name, type and default of each option, as a table writes them; of an object within, after it its own. */
function options(schema: z.ZodObject, within = ""): Row[] {
  return Object.entries(schema.shape).flatMap(([key, option]): Row[] => {
    const name = within + key;
    const { success, data } = (option as z.ZodType).safeParse(undefined);
    const value = success && data !== undefined ? `\`${JSON.stringify(data)}\`` : "–";
    const inner = option instanceof z.ZodOptional ? option.unwrap() : undefined;
    const parts = inner instanceof z.ZodObject ? options(inner, `${name}.`) : [];
    return [[name, describeType(option as z.ZodType), value], ...parts];
  });
}

/** Objects of a run's configuration that have tables of their own. */
const apart = /^(model\.clip|model\.preprocessing|training)\./;

for (const [heading, schema] of [
  ["A run", runConfigSchema],
  ["The model", clipOptionsSchema],
  ["Pictures", preprocessingSchema],
  ["Training", trainingOptionsSchema],
  ["Changes to pictures", augmentSchema],
  ["Embedding", embedOptionsSchema],
] as const) {
  test(`docs/options.md has each option once, with its type and default: ${heading}`, () => {
    const byName = (rows: Row[]) => rows.toSorted(([a], [b]) => (a < b ? -1 : 1));
    const found = options(schema).filter(([name]) => heading !== "A run" || !apart.test(name));
    assert.deepEqual(byName(documented(heading)), byName(found));
  });
}
