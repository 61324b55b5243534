import type { MetricsRow } from "../dist/src/server/api.js";
import { words } from "./dom.js";
import uPlot from "./uPlot.esm.js";

const HEIGHT = 260;

/** A chart of every figure with "loss" in its name, over the steps of a run. */
export class LossChart {
  readonly #host: HTMLElement;
  #plot: uPlot | undefined;
  #names: string[] = [];
  #data: uPlot.AlignedData = [[]];

  constructor(host: HTMLElement) {
    this.#host = host;
    new ResizeObserver(() => {
      if (host.clientWidth > 0) this.#plot?.setSize({ width: host.clientWidth, height: HEIGHT });
    }).observe(host);
    // uPlot draws on a canvas, which style sheets don't reach.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  update(history: readonly MetricsRow[]): void {
    const names = new Set<string>();
    for (const row of history) {
      for (const [name, value] of Object.entries(row)) {
        if (/loss/i.test(name) && typeof value === "number") names.add(name);
      }
    }
    const number = (value: unknown) => (typeof value === "number" ? value : null);
    const steps = history.map((row, i) => number(row.step) ?? i);
    const columns = [...names].map((name) => history.map((row) => number(row[name])));
    this.#data = [steps, ...columns];
    if (this.#plot !== undefined && [...names].join() === this.#names.join()) {
      this.#plot.setData(this.#data);
    } else {
      this.#names = [...names];
      this.#draw();
    }
    this.#describe(steps, columns[0]);
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
    const strokes = [colour("--accent"), colour("--accent-2"), colour("--quiet")];
    this.#plot = new uPlot(
      {
        width: this.#host.clientWidth,
        height: HEIGHT,
        scales: { x: { time: false } },
        axes: [
          { ...axis, size: 36, label: "Step", labelSize: 22, labelGap: 0 },
          { ...axis, size: 56 },
        ],
        series: [
          { label: "Step" },
          ...this.#names.map((name, i) => ({
            label: words(name),
            stroke: strokes[i % strokes.length]!,
            width: 2,
            spanGaps: true,
            value: (_: uPlot, value: number | null) => value?.toPrecision(4) ?? "–",
          })),
        ],
      },
      this.#data,
      this.#host,
    );
  }

  /** What somebody who cannot see the curve is told. */
  #describe(steps: readonly number[], losses: readonly (number | null)[] | undefined): void {
    const first = losses?.findIndex((loss) => loss !== null) ?? -1;
    const last = losses?.findLastIndex((loss) => loss !== null) ?? -1;
    this.#host.role = first < 0 ? null : "img";
    this.#host.ariaLabel =
      first < 0
        ? null
        : `${words(this.#names[0]!)}: ${losses![first]!.toPrecision(3)} at step ` +
          `${steps[first]}, ${losses![last]!.toPrecision(3)} at step ${steps[last]}`;
  }
}
