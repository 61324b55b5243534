import { make, words } from "./dom.js";

type Figures = Readonly<Record<string, unknown>>;

/** Recall, such as r5, and accuracy are shares of 1. */
export function isShare(path: string): boolean {
  return /recall|accuracy|r@|top|\br\d+$/i.test(path);
}

/** Shares are shown as percentages; other numbers are shown as they are. */
function figure(path: string, value: number): string {
  if (isShare(path) && value >= 0 && value <= 1) return `${(value * 100).toFixed(1)} %`;
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(4);
}

/**
 * Tables of the numbers in `final`: one row a group of numbers, however deep it lies, and one table for
 * loose numbers.
 */
export function figureTables(final: Figures): HTMLElement[] {
  const loose = numbersOf(final);
  const groups = groupsOf(final);
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

function numbersOf(figures: Figures): [string, number][] {
  return Object.entries(figures).filter(
    (entry): entry is [string, number] => typeof entry[1] === "number",
  );
}

/** Groups of numbers inside of `figures`, each under the names that lead there. */
function groupsOf(figures: Figures, path = ""): [string, Map<string, number>][] {
  return Object.entries(figures).flatMap(([name, value]) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
    const numbers = numbersOf(value as Figures);
    const here = path === "" ? name : `${path}, ${words(name)}`;
    const inside = groupsOf(value as Figures, here);
    return numbers.length > 0 ? [[here, new Map(numbers)], ...inside] : inside;
  });
}

function header(name: string, scope: "row" | "col"): HTMLElement {
  const cell = make("th", {}, words(name));
  cell.scope = scope;
  return cell;
}

function scrolling(table: HTMLElement): HTMLElement {
  return make("div", { className: "scrolling" }, table);
}
