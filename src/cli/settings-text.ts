import { stringify } from "yaml";
import { type OptionRow, type OptionTable, readOptionTable } from "./options-page.js";
import { isTree, type Tree } from "./settings-tree.js";

/** Values stand on one line. */
const FLOW = { collectionStyle: "flow", lineWidth: 0 } as const;

/** Columns that comments are wrapped to. */
const WIDTH = 100;

/** The tables that explain what is inside of a setting, where its own table doesn't. */
const tables: Readonly<Record<string, OptionTable>> = {
  "model.clip": "The model",
  "model.preprocessing": "Pictures",
  training: "Training",
  "training.augment": "Changes to pictures",
  "training.sslAugment": "Changes to pictures",
};

/**
 * Settings as YAML for `train --config`: every setting there is, with its meaning and type; those without
 * a value are commented out.
 */
export function settingsText(title: string, settings: Tree): string {
  const lines = [...comment(title, ""), ...linesOf(readOptionTable("A run"), "", "", settings)];
  return lines.join("\n");
}

/**
 * The settings of one object.
 *
 * @param rows the table that explains them
 * @param within the object's path
 * @param prefix what their names in the table begin with
 * @param heading the group of the table that has been named already
 */
function linesOf(
  rows: readonly OptionRow[],
  within: string,
  prefix: string,
  values: Tree,
  indent = "",
  heading = "",
): string[] {
  const lines: string[] = [];
  let group = heading;
  for (const row of rows) {
    const name = row.name.slice(prefix.length);
    if (!row.name.startsWith(prefix) || name.includes(".")) continue;
    if (row.group !== group) {
      group = row.group;
      lines.push("", `${indent}# ${group.toUpperCase()}`);
    }
    const type = row.type === "object" ? "" : ` (${row.type})`;
    lines.push(...comment(`${row.meaning}${type}`, indent));
    const value = values[name];
    const path = `${within}${name}`;
    const table = tables[path];
    const inner =
      row.type !== "object"
        ? []
        : table === undefined
          ? linesOf(rows, `${path}.`, `${row.name}.`, asTree(value), `${indent}  `, row.group)
          : linesOf(readOptionTable(table), `${path}.`, "", asTree(value), `${indent}  `);
    const has =
      value !== undefined && !(inner.length > 0 && Object.keys(asTree(value)).length === 0);
    const text = has && inner.length === 0 ? ` ${stringify(value, FLOW).trim()}` : "";
    lines.push(`${indent}${has ? "" : "#"}${name}:${text}`, ...inner);
  }
  return lines;
}

function asTree(value: unknown): Tree {
  return isTree(value) ? value : {};
}

/** A text as lines of comment. */
function comment(text: string, indent: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = `${lines.at(-1)} ${word}`;
    if (lines.length > 0 && line.length <= WIDTH) lines.splice(-1, 1, line);
    else lines.push(`${indent}# ${word}`);
  }
  return lines;
}
