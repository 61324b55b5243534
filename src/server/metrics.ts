import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ApiMetrics, MetricsRow } from "./api.js";

/** Points a chart can show; a longer history is thinned to this. */
const MAX_ROWS = 1000;

/**
 * The metrics of a run folder: `metrics.jsonl` (one JSON object a line, written while training) and
 * `metrics.json` (figures of the finished model). Files that aren't there yet count as empty.
 */
export async function readMetrics(run: string): Promise<ApiMetrics> {
  const [lines, finished] = await Promise.all([
    readText(join(run, "metrics.jsonl")),
    readText(join(run, "metrics.json")),
  ]);
  const history = thin(
    lines.split("\n").flatMap((line): MetricsRow[] => {
      const row = parseObject(line);
      return row === undefined ? [] : [row];
    }),
  );
  const final = parseObject(finished);
  return final === undefined ? { history } : { history, final };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

/** A JSON object; undefined for anything else, such as a line that is only half written. */
function parseObject(text: string): MetricsRow | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as MetricsRow) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * At most MAX_ROWS rows in their order. Rows with the same fields are thinned evenly, their first and
 * last kept; a rare kind of row, such as an evaluation among many steps, is spared.
 */
export function thin(rows: readonly MetricsRow[]): MetricsRow[] {
  if (rows.length <= MAX_ROWS) return [...rows];
  const kinds = new Map<string, number[]>();
  for (const [i, row] of rows.entries()) {
    const kind = Object.keys(row).join();
    const places = kinds.get(kind);
    if (places === undefined) kinds.set(kind, [i]);
    else places.push(i);
  }
  const kept: number[] = [];
  const rarestFirst = [...kinds.values()].sort((a, b) => a.length - b.length);
  for (const [k, places] of rarestFirst.entries()) {
    const share = Math.floor((MAX_ROWS - kept.length) / (rarestFirst.length - k));
    const count = Math.min(share, places.length);
    for (let i = 0; i < count; i++) {
      const at = count === 1 ? places.length - 1 : (i * (places.length - 1)) / (count - 1);
      kept.push(places[Math.round(at)]!);
    }
  }
  return kept.sort((a, b) => a - b).map((i) => rows[i]!);
}
