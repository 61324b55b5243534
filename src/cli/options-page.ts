import { readFileSync } from "node:fs";

/** The page that explains all options; it belongs to the package. */
const page = new URL("../../../docs/options.md", import.meta.url);

/** A row of one of the page's tables, without Markdown. */
export interface OptionRow {
  /** The bold line that it stands under, if its table has such. */
  readonly group: string;
  /** With a dot for options inside of others, as in `colour.hue`. */
  readonly name: string;
  readonly type: string;
  readonly meaning: string;
}

/** Headings of the page's tables. */
export type OptionTable = "A run" | "The model" | "Pictures" | "Training" | "Changes to pictures";

/** The rows of the table under a heading of docs/options.md, the one place where options are explained. */
export function readOptionTable(heading: OptionTable): OptionRow[] {
  const section = readFileSync(page, "utf8")
    .split(/^## /m)
    .find((text) => text.startsWith(`${heading}\n`));
  const rows: OptionRow[] = [];
  let group = "";
  for (const line of section?.split("\n") ?? []) {
    const [, name = "", type = "", , meaning = ""] = line.split("|").map((cell) => cell.trim());
    group = /^\*\*(.+)\*\*$/.exec(name)?.[1] ?? group;
    if (!/^`.+`$/.test(name)) continue;
    rows.push({ group, name: plain(name), type: plain(type), meaning: plain(meaning) });
  }
  return rows;
}

/** A cell without backquotes and links. */
function plain(cell: string): string {
  return cell.replace(/\[(.*?)\]\(.*?\)/g, "$1").replaceAll("`", "");
}
