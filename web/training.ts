import type { ApiInfo, ApiMetrics, ApiTraining } from "../src/server/api.js";
import { lossChart } from "./chart.js";
import { byId } from "./dom.js";
import { figureTables } from "./figures.js";
import { messageOf, request } from "./http.js";

const POLL_MS = 1500;

const form = byId<HTMLFormElement>("train-form");
const collection = byId<HTMLInputElement>("collection");
const minutes = byId<HTMLInputElement>("minutes");
const startButton = byId<HTMLButtonElement>("train-start");
const stopButton = byId<HTMLButtonElement>("job-stop");
const problem = byId("train-error");
const output = byId("job-output");

/** Makes the training tab live; it asks the server for news while it is shown. */
export function startTraining(info: ApiInfo): { show(): void; hide(): void; refresh(): void } {
  const modelChart = lossChart(byId("model-chart"));
  const jobChart = lossChart(byId("job-chart"));
  let poll = 0;
  let shown = false;

  async function showModel(): Promise<void> {
    const note = byId("model-note");
    if (!info.hasRun) {
      note.textContent = "The training run of this model is not at hand.";
      return;
    }
    try {
      const { history, final } = await request<ApiMetrics>("api/metrics");
      note.textContent = history.length === 0 ? "This run has recorded no steps." : "";
      modelChart.update(history);
      byId("model-figures").replaceChildren(...figureTables(final ?? {}));
    } catch (error) {
      note.textContent = messageOf(error);
    }
  }

  function render(job: ApiTraining): void {
    const running = job.state === "running";
    startButton.disabled = running;
    stopButton.hidden = !running;
    byId("job").hidden = job.state === "idle";
    // Assistive technology reads a status out when it changes: the clock stands apart from it.
    const state = describe(job);
    if (byId("job-state").textContent !== state) byId("job-state").textContent = state;
    byId("job-clock").textContent = clockOf(job);
    byId("job-state").classList.toggle("error", job.state === "failed");
    const progress = byId<HTMLProgressElement>("job-progress");
    progress.hidden = !running;
    progress.value = Math.min(1, (job.elapsedSeconds ?? 0) / 60 / (job.minutes ?? 1));
    byId("job-next").hidden = job.next === undefined;
    byId("job-commands").textContent = job.next?.join("\n") ?? "";
    jobChart.update(job.metrics.history);
    byId("job-figures").replaceChildren(...figureTables(job.metrics.final ?? {}));
    const atEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
    output.textContent = job.output.join("\n");
    if (atEnd) output.scrollTop = output.scrollHeight;
    if (job.state === "failed") byId("job").querySelector("details")!.open = true;
    clearTimeout(poll);
    if (running && shown) poll = setTimeout(() => void ask(), POLL_MS);
  }

  /** Sends a request about the training and shows the state it leads to. */
  async function ask(init: RequestInit = {}): Promise<void> {
    try {
      render(await request<ApiTraining>("api/train", init));
      problem.textContent = "";
    } catch (error) {
      problem.textContent = messageOf(error);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = JSON.stringify({
      collection: collection.value.trim(),
      minutes: minutes.valueAsNumber,
    });
    void ask({ method: "POST", headers: { "content-type": "application/json" }, body });
  });
  stopButton.addEventListener("click", () => void ask({ method: "DELETE" }));
  if (!info.canTrain) {
    form.hidden = true;
    byId("train-note").textContent =
      "Trainings can be started here only when the server listens to this computer alone.";
  }

  return {
    show() {
      shown = true;
      void showModel();
      if (info.canTrain) void ask();
    },
    hide() {
      shown = false;
      clearTimeout(poll);
    },
    /** Shows how far this model is by now. */
    refresh() {
      if (shown) void showModel();
    },
  };
}

function describe({ state, collection, run }: ApiTraining): string {
  switch (state) {
    case "idle":
      return "";
    case "running":
      return `Training on ${collection}`;
    case "done":
      return `Trained on ${collection}. The run is in ${run}.`;
    case "failed":
      return `The training on ${collection} failed. Its output says why.`;
    case "stopped":
      return `The training on ${collection} was stopped.`;
  }
}

/** How long a job has trained, and the last loss. */
function clockOf({ state, elapsedSeconds = 0, minutes = 0, metrics }: ApiTraining): string {
  const last = metrics.history.findLast(({ loss }) => typeof loss === "number")?.loss;
  const loss = typeof last === "number" ? `, loss ${last.toPrecision(3)}` : "";
  const of = state === "running" ? ` of ${clock(minutes * 60)}` : "";
  return `${clock(elapsedSeconds)}${of} minutes${loss}`;
}

/** Seconds as minutes:seconds. */
function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
