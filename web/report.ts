import type { MetricsRow, ReportData, Retrievals } from "../src/report/data.js";
import { Chart, type ChartOptions } from "./chart.js";
import { byId, make, words } from "./dom.js";
import { figureTables, isShare } from "./figures.js";
import { messageOf, request } from "./http.js";

const POLL_MS = 2000;
/** The time that is left is judged by the speed of about the last minute. */
const SPEED_WINDOW_MS = 60_000;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const short = (value: number) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
const seconds = (value: number) => (value < 1 ? `${short(1000 * value)} ms` : `${short(value)} s`);

/** "validation.textToImage.r10" as "Text to image R@10". */
function recallLabel(name: string): string {
  const [, ...path] = name.split(".");
  return words(path.join(" ")).replace(/ r ?(\d+)$/, " R@$1");
}

/** Figures of a step that are no terms of its loss, each with a chart of its own. */
const own = [
  { name: "logitScale", title: "Logit scale", smooth: false },
  { name: "learningRate", title: "Learning rate", smooth: false },
  { name: "gradientNorm", title: "Gradient norm", smooth: true },
  { name: "samplesPerSecond", title: "Samples a second", smooth: true },
  { name: "dataWaitSeconds", title: "Waiting for data, seconds a step", smooth: true },
  { name: "rssMB", title: "Memory, in MB", smooth: false },
] as const;

const known = new Set<string>(["step", ...own.map(({ name }) => name)]);

/** A card with a chart, hidden as long as there is nothing to draw. */
function chartCard(parent: string, title: string, options: ChartOptions) {
  const host = make("div");
  const card = make("section", { className: "card" }, make("h2", {}, title), host);
  card.ariaLabel = title;
  byId(parent).append(card);
  const chart = new Chart(host, options);
  return (history: readonly MetricsRow[]) => {
    // A chart is as wide as what it is in, which has to be seen for that.
    card.hidden = false;
    card.hidden = !chart.update(history);
  };
}

const charts = [
  chartCard("charts", "Loss", {
    shows: (name) => name === "validation.loss" || !(name.includes(".") || known.has(name)),
    smooth: true,
  }),
  chartCard("charts", "Recall on validation pictures", {
    shows: (name) => name.startsWith("validation.") && isShare(name),
    label: recallLabel,
    format: percent,
    axis: (share) => `${Math.round(100 * share)} %`,
    group: (name) => name.split(".").at(-1)!,
    dashed: (name) => name.includes("imageToText"),
  }),
  ...own.map(({ name, title, smooth }) =>
    chartCard("small-charts", title, {
      shows: (given) => given === name,
      label: () => title,
      format: short,
      smooth,
      height: 180,
    }),
  ),
];

/** The last value of a figure that a run has recorded. */
function last(history: readonly MetricsRow[], name: string): number | undefined {
  const value = history.findLast((row) => typeof row[name] === "number")?.[name];
  return typeof value === "number" ? value : undefined;
}

/** The mean of a figure over all rows that have it. */
function mean(history: readonly MetricsRow[], name: string): number | undefined {
  const values = history.map((row) => row[name]).filter((value) => typeof value === "number");
  return values.length > 0
    ? values.reduce((sum, value) => sum + value, 0) / values.length
    : undefined;
}

/** The mean of a speed over the time that was spent, which is that of its inverse over steps. */
function meanSpeed(history: readonly MetricsRow[], name: string): number | undefined {
  const slowness = history.flatMap((row) =>
    typeof row[name] === "number" ? [{ [name]: 1 / row[name] }] : [],
  );
  const value = mean(slowness, name);
  return value && 1 / value;
}

function facts({ history, totalSteps }: ReportData): (readonly [string, string])[] {
  const of = totalSteps === undefined ? "" : ` of ${totalSteps.toLocaleString("en")}`;
  const best = (name: string) =>
    history.reduce((most, row) => {
      const value = row[name];
      return typeof value === "number" ? Math.max(most, value) : most;
    }, Number.NEGATIVE_INFINITY);
  const recall = "validation.textToImage.r10";
  type Figure = typeof last;
  const figures: [string, string, (value: number) => string, Figure?][] = [
    ["Step", "step", (step) => `${step.toLocaleString("en")}${of}`],
    ["Loss", "loss", short],
    ["Validation loss", "validation.loss", short],
    ["Text to image R@10", recall, (value) => `${percent(value)}, best ${percent(best(recall))}`],
    ["Samples a second", "samplesPerSecond", (value) => `${short(value)} on average`, meanSpeed],
    ["Waiting for data", "dataWaitSeconds", (value) => `${seconds(value)} a step`, mean],
    ["Memory", "rssMB", (value) => `${(value / 1000).toFixed(2)} GB`],
  ];
  return figures.flatMap(([label, name, format, of = last]) => {
    const value = of(history, name);
    return value === undefined ? [] : [[label, format(value)] as const];
  });
}

/** Shows a report; one of a run under way again and again. */
function render(data: ReportData, state: string): void {
  document.title = data.title;
  byId("title").textContent = data.title;
  byId("time").textContent = `As of ${new Date(data.time).toLocaleString("en")}`;
  // Assistive technology reads a status out when it changes.
  if (byId("state").textContent !== state) byId("state").textContent = state;
  byId("facts").replaceChildren(
    ...facts(data).map(([label, value]) =>
      make("div", {}, make("dt", {}, label), make("dd", {}, value)),
    ),
  );
  for (const update of charts) update(data.history);
  byId("figures-card").hidden = data.final === undefined;
  byId("figures").replaceChildren(...figureTables(data.final ?? {}));
  byId("findings-card").hidden = data.retrievals === undefined;
  if (data.retrievals) renderFindings(data.retrievals);
  renderSkipped(data);
  renderSettings(data);
}

function renderFindings({ from, pictures, captions, thumbnails, ...found }: Retrievals): void {
  const use = { learnt: ", which it was trained on", heldOut: ", held out of training", none: "" };
  byId("findings-note").textContent =
    `Among ${pictures} pictures and ${captions} captions drawn at random from ${from}${use[found.use]}: ` +
    "the nearest of the other kind, with their similarity. Right answers are marked.";
  const picture = (at: number) => {
    const image = make("img");
    image.src = thumbnails[at]!;
    image.alt = "";
    return image;
  };
  const match = (right: boolean, content: Node | string, score: number) => {
    const mark = right ? make("b", { className: "unseen" }, " right ") : "";
    return make(
      "li",
      { className: right ? "right" : "" },
      content,
      mark,
      make("span", {}, score.toFixed(3)),
    );
  };
  byId("by-text").replaceChildren(
    ...found.byText.map(({ text, matches }) => {
      const tiles = matches.map(({ picture: at, score, right }) =>
        match(right, picture(at), score),
      );
      return make("div", { className: "finding" }, make("p", {}, text), make("ul", {}, ...tiles));
    }),
  );
  byId("by-picture").replaceChildren(
    ...found.byPicture.map(({ picture: at, matches }) => {
      const lines = matches.map(({ text, score, right }) => match(right, text, score));
      return make(
        "div",
        { className: "finding of-picture" },
        picture(at),
        make("ul", {}, ...lines),
      );
    }),
  );
}

function renderSkipped({ skipped }: ReportData): void {
  byId("skipped-card").hidden = skipped === undefined;
  if (skipped === undefined) return;
  byId("skipped-heading").textContent = `Skipped: ${skipped.count.toLocaleString("en")}`;
  const causes = skipped.causes.map(([cause, count]) =>
    make("li", {}, `${count.toLocaleString("en")} × ${cause}`),
  );
  byId("skipped-causes").replaceChildren(...causes);
  const examples = skipped.examples.map(({ where, reason }) =>
    make("li", {}, reason.includes(where) ? reason : `${where}: ${reason}`),
  );
  byId("skipped-examples").replaceChildren(...examples);
}

/** Every setting with its path, a table for each file. */
function renderSettings({ settings }: ReportData): void {
  const tables = Object.entries(settings).map(([name, tree]) => {
    const rows = leaves(tree).map(([path, value]) => {
      const head = make("th", {}, path);
      head.scope = "row";
      return make("tr", {}, head, make("td", {}, value));
    });
    const table = make("table", {}, make("tbody", {}, ...rows));
    const open = byId("settings").querySelector<HTMLDetailsElement>(`[data-name="${name}"]`)?.open;
    const details = make("details", {}, make("summary", {}, words(name)));
    details.append(make("div", { className: "figures scrolling" }, table));
    details.dataset.name = name;
    details.open = open ?? false;
    return details;
  });
  byId("settings-card").hidden = tables.length === 0;
  byId("settings").replaceChildren(...tables);
}

function leaves(tree: unknown, path = ""): [string, string][] {
  if (typeof tree !== "object" || tree === null || Array.isArray(tree)) {
    return [[path, typeof tree === "string" ? tree : JSON.stringify(tree)]];
  }
  return Object.entries(tree).flatMap(([name, value]) =>
    leaves(value, path === "" ? name : `${path}.${name}`),
  );
}

/** Asks the server for the run's state until the server is gone. */
function watch(): void {
  const marks: { time: number; step: number }[] = [];
  const state = ({ history, totalSteps, finished }: ReportData): string => {
    if (finished) return "The training has ended.";
    const step = last(history, "step");
    if (step === undefined) return "The training is about to begin.";
    const now = performance.now();
    marks.push({ time: now, step });
    while (marks.length > 2 && marks[1]!.time < now - SPEED_WINDOW_MS) marks.shift();
    const speed = (step - marks[0]!.step) / (now - marks[0]!.time);
    const isKnown = totalSteps !== undefined && speed > 0;
    return `Training${isKnown ? `, about ${duration((totalSteps - step) / speed)} left` : ""}`;
  };
  const ask = async () => {
    try {
      const data = await request<ReportData>("api/report");
      render(data, state(data));
      const progress = byId<HTMLProgressElement>("progress");
      progress.hidden = data.finished || data.totalSteps === undefined;
      progress.value = (last(data.history, "step") ?? 0) / (data.totalSteps ?? 1);
    } catch (error) {
      byId("progress").hidden = true;
      byId("state").textContent =
        `${messageOf(error)} When a training ends, its report is in its folder, in report.html.`;
    }
    setTimeout(() => void ask(), POLL_MS);
  };
  void ask();
}

/** For example "45 s", "4 min" or "2 h 5 min". */
function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const written = byId("data").textContent ?? "";
if (written.trim() === "") watch();
else {
  const data = JSON.parse(written) as ReportData;
  render(data, data.finished ? "The training has ended." : "The training has not ended yet.");
}
