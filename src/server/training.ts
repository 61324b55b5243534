import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { FollowedRun } from "../report/index.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import type { ApiTraining } from "./api.js";

/** Lines of output kept. */
const OUTPUT_LINES = 200;

/** A training to run. */
export interface TrainingJob {
  /** Absolute path of the collection of pictures. */
  readonly collection: string;
  /** Absolute path of the run folder to write. */
  readonly run: string;
  readonly minutes: number;
}

/** Arguments for `process.execPath` that run a job. */
export type TrainingCommand = (job: TrainingJob) => readonly string[];

const cli = fileURLToPath(new URL("../cli/main.js", import.meta.url));

const trainWithCli: TrainingCommand = ({ collection, run, minutes }) => [
  cli,
  "train",
  collection,
  "--out",
  run,
  "--minutes",
  String(minutes),
];

/** Runs trainings as child processes, one at a time, so that a crash cannot take the server along. */
export class Training {
  readonly #runs: string;
  readonly #command: TrainingCommand;
  #job: (TrainingJob & { readonly followed: FollowedRun }) | undefined;
  #child: ChildProcess | undefined;
  #state: ApiTraining["state"] = "idle";
  #output: string[] = [];
  #began = 0;
  #ended = 0;

  /** `runs` is the folder that run folders are made in. */
  constructor({ runs, command = trainWithCli }: { runs: string; command?: TrainingCommand }) {
    this.#runs = resolve(runs);
    this.#command = command;
  }

  get running(): boolean {
    return this.#state === "running";
  }

  /**
   * Starts a training on the pictures in `collection`.
   *
   * @throws ClipsmithError when one is running.
   */
  start(collection: string, minutes: number): void {
    if (this.running) {
      throw new ClipsmithError("A training is running. Wait for it, or stop it first.");
    }
    const path = resolve(collection);
    const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
    const name = join(this.#runs, `${basename(path) || "run"}-${time}`);
    let run = name;
    for (let n = 2; existsSync(run); n++) run = `${name}-${n}`;
    mkdirSync(this.#runs, { recursive: true });
    const job = { collection: path, run, minutes };
    this.#job = { ...job, followed: new FollowedRun(run) };
    this.#state = "running";
    this.#output = [];
    this.#began = Date.now();

    const child = spawn(process.execPath, [...this.#command(job)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.#collect(child.stdout);
    this.#collect(child.stderr);
    child.on("error", (error) => {
      this.#output.push(error.message);
      this.#end("failed");
    });
    child.on("close", (code) => this.#end(code === 0 ? "done" : "failed"));
  }

  /** Asks the running training to stop; asked a second time, ends it at once. */
  stop(): void {
    if (!this.running) return;
    this.#child?.kill(this.#child.killed ? "SIGKILL" : "SIGTERM");
  }

  async status(): Promise<ApiTraining> {
    const state = this.#state;
    if (this.#job === undefined) return { state, output: [], metrics: { history: [] } };
    const { followed, ...job } = this.#job;
    const end = this.running ? Date.now() : this.#ended;
    return {
      ...job,
      state,
      elapsedSeconds: (end - this.#began) / 1000,
      output: [...this.#output],
      metrics: await followed.metrics(),
      ...(state === "done" && {
        next: [
          `clipsmith index ${quote(job.run)} ${quote(job.collection)}`,
          `clipsmith serve ${quote(job.run)}`,
        ],
      }),
    };
  }

  #end(state: ApiTraining["state"]): void {
    if (!this.running) return;
    this.#state = this.#child?.killed ? "stopped" : state;
    this.#ended = Date.now();
    this.#child = undefined;
  }

  /** Keeps the last lines of a stream. A carriage return, as progress bars print it, ends a line too. */
  #collect(stream: NodeJS.ReadableStream | null): void {
    let rest = "";
    stream?.setEncoding("utf8");
    const push = (lines: readonly string[]) => {
      const clean = lines.map(stripVTControlCharacters).filter((line) => line.trim() !== "");
      this.#output = [...this.#output, ...clean].slice(-OUTPUT_LINES);
    };
    stream?.on("data", (chunk: string) => {
      const lines = (rest + chunk).split(/[\r\n]+/);
      rest = lines.pop()!;
      push(lines);
    });
    stream?.on("end", () => push([rest]));
  }
}
