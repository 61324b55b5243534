import type { MetricsRow } from "../src/report/data.js";
import { words } from "./dom.js";
import uPlot from "./uPlot.esm.js";

export interface ChartOptions {
  /** Which figures of a run are drawn, by name. */
  readonly shows: (name: string) => boolean;
  /** What a figure is called; by default its name in words. */
  readonly label?: (name: string) => string;
  /** How a value is written. */
  readonly format?: (value: number) => string;
  /** How the values beside the axis are written; by default with three digits. */
  readonly axis?: (value: number) => string;
  /** Figures of one group have one colour; by default each is a group of its own. */
  readonly group?: (name: string) => string;
  /** Figures that are drawn dashed. */
  readonly dashed?: (name: string) => boolean;
  /** Adds a mean over the neighbours to each figure that jumps from step to step. */
  readonly smooth?: boolean;
  /** In pixels, without the legend. Default 260. */
  readonly height?: number;
}

/** The axis that all charts of a page share: the pointer is at the same step in each. */
const SYNC = "step";
/** A figure with more points than this is smoothed, over this part of them. */
const SMOOTHED_POINTS = 60;
const SMOOTHED_PART = 0.02;

type Column = (number | null)[];

/** A chart of some figures over the steps of a run. */
export class Chart {
  readonly #host: HTMLElement;
  readonly #options: Required<ChartOptions>;
  #plot: uPlot | undefined;
  #names: string[] = [];
  #smoothed = false;
  #data: uPlot.AlignedData = [[]];

  constructor(host: HTMLElement, options: ChartOptions) {
    this.#host = host;
    this.#options = {
      label: words,
      format: (value) => value.toPrecision(4),
      axis: (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 }),
      group: (name) => name,
      dashed: () => false,
      smooth: false,
      height: 260,
      ...options,
    };
    new ResizeObserver(() => {
      if (host.clientWidth > 0) this.#plot?.setSize(this.#size());
    }).observe(host);
    // uPlot draws on a canvas, which style sheets don't reach.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Draws the run anew. Returns whether it has any of the figures. */
  update(history: readonly MetricsRow[]): boolean {
    const names = new Set<string>();
    for (const row of history) {
      for (const [name, value] of Object.entries(row)) {
        if (typeof value === "number" && this.#options.shows(name)) names.add(name);
      }
    }
    const number = (value: unknown) => (typeof value === "number" ? value : null);
    // Rows without any of the figures would only pull the lines' ends apart.
    const rows = history.filter((row) => [...names].some((name) => number(row[name]) !== null));
    const steps = rows.map((row, i) => number(row.step) ?? i);
    const columns = [...names].map((name) => rows.map((row) => number(row[name])));
    const smoothed = this.#options.smooth && rows.length > SMOOTHED_POINTS;
    this.#data = [steps, ...columns, ...(smoothed ? columns.map(smooth) : [])];
    if (
      this.#plot !== undefined &&
      smoothed === this.#smoothed &&
      [...names].join() === this.#names.join()
    ) {
      this.#plot.setData(this.#data);
    } else {
      this.#names = [...names];
      this.#smoothed = smoothed;
      this.#draw();
    }
    this.#describe(steps, columns[0]);
    return names.size > 0;
  }

  #size(): { width: number; height: number } {
    return { width: this.#host.clientWidth, height: this.#options.height };
  }

  #draw(): void {
    this.#plot?.destroy();
    this.#plot = undefined;
    if (this.#names.length === 0) return;
    const style = getComputedStyle(this.#host);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--quiet"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
    };
    const strokes = ["--accent", "--accent-2", "--accent-3", "--accent-4", "--quiet"].map(colour);
    const { label, format, axis: written, group, dashed } = this.#options;
    const groups = [...new Set(this.#names.map(group))];
    const series = this.#names.map(
      (name): uPlot.Series => ({
        label: label(name),
        stroke: strokes[groups.indexOf(group(name)) % strokes.length]!,
        width: 2,
        spanGaps: true,
        ...(dashed(name) && { dash: [6, 4] }),
        value: (_, value: number | null) => (value === null ? "–" : format(value)),
      }),
    );
    // Under the means, the figures themselves are faint; the legend has the figures.
    const faint = series.map((one) => ({ ...one, width: 1, alpha: 0.35 }));
    const means = series.map((one) => ({ ...one, class: "mean" }));
    this.#plot = new uPlot(
      {
        ...this.#size(),
        cursor: { sync: { key: SYNC } },
        scales: { x: { time: false } },
        axes: [
          { ...axis, size: 36, label: "Step", labelSize: 22, labelGap: 0 },
          { ...axis, size: 56, values: (_, ticks) => ticks.map(written) },
        ],
        hooks: { setSeries: [(plot, at, { show }) => this.#toggleMean(plot, at, show)] },
        series: [{ label: "Step" }, ...(this.#smoothed ? [...faint, ...means] : series)],
      },
      this.#data,
      this.#host,
    );
  }

  /** A figure that is switched off in the legend takes its mean along. */
  #toggleMean(plot: uPlot, at: number | null, show: boolean | undefined): void {
    const isFigure = at !== null && at > 0 && at <= this.#names.length;
    if (this.#smoothed && isFigure && show !== undefined) {
      plot.setSeries(at + this.#names.length, { show });
    }
  }

  /** What somebody who cannot see the curve is told. */
  #describe(steps: readonly number[], values: readonly (number | null)[] | undefined): void {
    const first = values?.findIndex((value) => value !== null) ?? -1;
    const last = values?.findLastIndex((value) => value !== null) ?? -1;
    this.#host.role = first < 0 ? null : "img";
    this.#host.ariaLabel =
      first < 0
        ? null
        : `${this.#options.label(this.#names[0]!)}: ${values![first]!.toPrecision(3)} at step ` +
          `${steps[first]}, ${values![last]!.toPrecision(3)} at step ${steps[last]}`;
  }
}

/** Each value's mean with its neighbours, the nearest weighing most, both ways: nothing is late. */
function smooth(values: Column): Column {
  const points = values.filter((value) => value !== null).length;
  if (points <= SMOOTHED_POINTS) return values;
  const keep = Math.exp(-1 / Math.max(2, SMOOTHED_PART * points));
  const pass = (column: Column) => {
    let mean: number | null = null;
    return column.map((value) => {
      if (value !== null) mean = mean === null ? value : keep * mean + (1 - keep) * value;
      return value === null ? null : mean;
    });
  };
  const forward = pass(values);
  const backward = pass(values.toReversed()).reverse();
  return values.map((value, i) => (value === null ? null : (forward[i]! + backward[i]!) / 2));
}

/** Every figure with "loss" in its name. */
export function lossChart(host: HTMLElement): Chart {
  return new Chart(host, { shows: (name) => /loss/i.test(name) });
}
