import { make, words } from "./dom.js";

type Figures = Readonly<Record<string, unknown>>;

/** Recall and accuracy are shares, shown as percentages; other numbers are shown as they are. */
function figure(path: string, value: number): string {
  const isShare = /recall|accuracy|r@|top/i.test(path) && value >= 0 && value <= 1;
  if (isShare) return `${(value * 100).toFixed(1)} %`;
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(4);
}

/** Tables of the numbers in `final`: one row a group of numbers, and one table for loose numbers. */
export function figureTables(final: Figures): HTMLElement[] {
  const loose: [string, number][] = [];
  const groups: [string, Map<string, number>][] = [];
  for (const [name, value] of Object.entries(final)) {
    if (typeof value === "number") loose.push([name, value]);
    if (typeof value !== "object" || value === null) continue;
    const numbers = Object.entries(value).filter(
      (entry): entry is [string, number] => typeof entry[1] === "number",
    );
    if (numbers.length > 0) groups.push([name, new Map(numbers)]);
  }
  const tables: HTMLElement[] = [];
  const columns = [...new Set(groups.flatMap(([, numbers]) => [...numbers.keys()]))];
  if (groups.length > 0) {
    const head = make("tr", {}, make("td"), ...columns.map((name) => header(name, "col")));
    const rows = groups.map(([name, numbers]) => {
      const cells = columns.map((column) => {
        const value = numbers.get(column);
        return make("td", {}, value === undefined ? "" : figure(`${name} ${column}`, value));
      });
      return make("tr", {}, header(name, "row"), ...cells);
    });
    tables.push(scrolling(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
  }
  if (loose.length > 0) {
    const rows = loose.map(([name, value]) =>
      make("tr", {}, header(name, "row"), make("td", {}, figure(name, value))),
    );
    tables.push(scrolling(make("table", {}, make("tbody", {}, ...rows))));
  }
  return tables;
}

function header(name: string, scope: "row" | "col"): HTMLElement {
  const cell = make("th", {}, words(name));
  cell.scope = scope;
  return cell;
}

function scrolling(table: HTMLElement): HTMLElement {
  return make("div", { className: "scrolling" }, table);
}
