import { duration, gigabytes, ProgressLine, type ProgressStream } from "../util/progress-line.js";

export interface ProgressOptions {
  /** Steps of the whole run; undefined as long as nobody knows. */
  readonly totalSteps: number | undefined;
  /** Steps already taken, of a resumed run. Default 0. */
  readonly startStep?: number;
  /** Default: standard error, so that standard output stays free for results. */
  readonly stream?: ProgressStream;
  /** A clock in milliseconds. Default: performance.now. */
  readonly now?: () => number;
  /** Bytes of memory that the process holds. Default: its resident set. */
  readonly memory?: () => number;
}

/** Speed is measured over about this time: long enough to be steady, short enough to follow changes. */
const SPEED_WINDOW_MS = 30_000;

/** What {@link Progress.update} is told of a step. */
export interface ProgressUpdate {
  /** Steps taken. */
  readonly step: number;
  /** The mean loss. */
  readonly loss: number;
  /** Samples that the step learnt from. */
  readonly samples: number;
  /** Seconds that the step waited for its samples; left out, no share of waiting is shown. */
  readonly dataWaitSeconds?: number;
  /** Seconds left of a run that ends by time; left out, they follow from the steps left and the speed. */
  readonly secondsLeft?: number;
}

/** A point in time, and what was counted up to it. */
interface Mark {
  time: number;
  readonly step: number;
  readonly samples: number;
  readonly waitSeconds: number | undefined;
}

/**
 * Shows how a run is getting on: its loss, speed, time left, the share of time spent waiting for
 * samples, and memory.
 */
export class Progress {
  #total: number | undefined;
  readonly #now: () => number;
  readonly #memory: () => number;
  readonly #line: ProgressLine;
  #step: number;
  #samples = 0;
  #waitSeconds: number | undefined;
  #loss: number | undefined;
  #secondsLeft: number | undefined;
  /** Points of the speed window, the oldest first. */
  readonly #marks: Mark[];

  constructor({
    totalSteps,
    startStep = 0,
    stream,
    now = () => performance.now(),
    memory = () => process.memoryUsage.rss(),
  }: ProgressOptions) {
    this.#total = totalSteps;
    this.#step = startStep;
    this.#now = now;
    this.#memory = memory;
    this.#marks = [{ time: now(), step: startStep, samples: 0, waitSeconds: 0 }];
    this.#line = new ProgressLine({
      text: () => this.#text(),
      total: totalSteps,
      place: startStep,
      now,
      ...(stream && { stream }),
    });
  }

  /** The number of steps of the whole run, where it was not known before or has changed. */
  set totalSteps(total: number) {
    this.#total = total;
    this.#line.total = total;
  }

  /** Call after each step. */
  update({ step, loss, samples, dataWaitSeconds, secondsLeft }: ProgressUpdate): void {
    const time = this.#now();
    // A run that went back has no speed until it gets on again.
    if (step <= this.#step) this.#marks.length = 0;
    this.#step = step;
    this.#loss = loss;
    this.#secondsLeft = secondsLeft;
    this.#samples += samples;
    if (dataWaitSeconds !== undefined) {
      this.#waitSeconds = (this.#waitSeconds ?? 0) + dataWaitSeconds;
    }
    this.#marks.push({ time, step, samples: this.#samples, waitSeconds: this.#waitSeconds });
    while (this.#marks.length > 2 && this.#marks[1]!.time <= time - SPEED_WINDOW_MS) {
      this.#marks.shift();
    }
    this.#line.update(step);
  }

  /** Leaves time that was spent on something else than steps out of the speed. */
  pause(milliseconds: number): void {
    for (const mark of this.#marks) mark.time += milliseconds;
  }

  /** Writes a line of text, above the bar where there is one. */
  message(text: string): void {
    this.#line.message(text);
  }

  /** Ends with a line of the last numbers. Needed after a failure too: the bar keeps the process alive. */
  stop(): void {
    this.#line.stop();
  }

  #text(): string {
    const total = this.#total;
    const parts = [total === undefined ? `step ${this.#step}` : `step ${this.#step}/${total}`];
    if (this.#loss !== undefined) parts.push(`loss ${this.#loss.toFixed(4)}`);
    const first = this.#marks[0]!;
    const last = this.#marks.at(-1)!;
    const seconds = (last.time - first.time) / 1000;
    if (seconds > 0) {
      parts.push(`${((last.samples - first.samples) / seconds).toPrecision(3)} samples/s`);
      const left =
        this.#secondsLeft ?? (((total ?? 0) - last.step) * seconds) / (last.step - first.step);
      if (left > 0) parts.push(`${duration(left)} left`);
      if (last.waitSeconds !== undefined) {
        const waited = (last.waitSeconds - (first.waitSeconds ?? 0)) / seconds;
        parts.push(`${Math.round(100 * waited)} % waiting for data`);
      }
    }
    if (this.#loss !== undefined) parts.push(gigabytes(this.#memory()));
    return parts.join(", ");
  }
}
