import type { MetricsRow } from "./data.js";

/** Points a chart can show; a longer history is thinned to this. */
const MAX_ROWS = 1000;
/** Rows of a kind that are kept to choose from. */
const MAX_KEPT = 4 * MAX_ROWS;

interface Entry {
  /** Its place among all rows. */
  readonly at: number;
  readonly row: MetricsRow;
}

/** Rows with the same fields. */
interface Kind {
  /** One in so many rows is kept. */
  stride: number;
  seen: number;
  kept: Entry[];
  last: Entry;
}

/** The rows of a run, however long it is: of a long one, evenly chosen ones are remembered. */
export class History {
  readonly #kinds = new Map<string, Kind>();
  #count = 0;

  add(row: MetricsRow): void {
    const name = Object.keys(row).join();
    const last = { at: this.#count++, row };
    let kind = this.#kinds.get(name);
    if (kind === undefined) {
      kind = { stride: 1, seen: 0, kept: [], last };
      this.#kinds.set(name, kind);
    }
    kind.last = last;
    if (kind.seen++ % kind.stride === 0) kind.kept.push(last);
    if (kind.kept.length > MAX_KEPT) {
      kind.kept = kind.kept.filter((_, i) => i % 2 === 0);
      kind.stride *= 2;
    }
  }

  /**
   * At most 1000 rows in their order. Rows with the same fields are thinned evenly, their first and last
   * kept; a rare kind of row, such as a validation among many steps, is spared.
   */
  rows(): MetricsRow[] {
    const chosen: Entry[] = [];
    const rarestFirst = [...this.#kinds.values()].sort((a, b) => a.seen - b.seen);
    for (const [k, { kept, last }] of rarestFirst.entries()) {
      const entries = kept.at(-1) === last ? kept : [...kept, last];
      const share = Math.floor((MAX_ROWS - chosen.length) / (rarestFirst.length - k));
      const count = Math.min(share, entries.length);
      for (let i = 0; i < count; i++) {
        const at = count === 1 ? entries.length - 1 : (i * (entries.length - 1)) / (count - 1);
        chosen.push(entries[Math.round(at)]!);
      }
    }
    return chosen.sort((a, b) => a.at - b.at).map(({ row }) => row);
  }
}
