import { SingleBar } from "cli-progress";

export interface ProgressOptions {
  /** Steps of the whole run; undefined as long as nobody knows. */
  readonly totalSteps: number | undefined;
  /** Steps already taken, of a resumed run. Default 0. */
  readonly startStep?: number;
  /** Default: standard error, so that standard output stays free for results. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** A clock in milliseconds. Default: performance.now. */
  readonly now?: () => number;
  /** Bytes of memory that the process holds. Default: its resident set. */
  readonly memory?: () => number;
}

/** Milliseconds between lines where there is no terminal: a log of a long run stays readable. */
const LINE_INTERVAL_MS = 10_000;
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
 * samples, and memory. A bar on a terminal, and otherwise plain lines, at most one in ten seconds
 * besides the first and the last.
 */
export class Progress {
  #total: number | undefined;
  readonly #stream: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly #now: () => number;
  readonly #memory: () => number;
  readonly #bar: SingleBar | undefined;
  #step: number;
  #samples = 0;
  #waitSeconds: number | undefined;
  #loss: number | undefined;
  #lineTime = -Infinity;
  #line = "";
  /** Points of the speed window, the oldest first. */
  readonly #marks: Mark[];

  constructor({
    totalSteps,
    startStep = 0,
    stream = process.stderr,
    now = () => performance.now(),
    memory = () => process.memoryUsage.rss(),
  }: ProgressOptions) {
    this.#total = totalSteps;
    this.#step = startStep;
    this.#stream = stream;
    this.#now = now;
    this.#memory = memory;
    this.#marks = [{ time: now(), step: startStep, samples: 0, waitSeconds: 0 }];
    if (stream.isTTY) {
      this.#bar = new SingleBar({
        stream,
        format: "{bar} {text}",
        barCompleteChar: "█",
        barIncompleteChar: "░",
        barsize: 24,
        clearOnComplete: true,
        // Cuts the bar to the terminal's width; otherwise wrapping is switched off, and stays so after a kill.
        linewrap: true,
      });
      this.#startBar(this.#bar);
    }
  }

  /** The number of steps of the whole run, where it was not known before. */
  set totalSteps(total: number) {
    this.#total = total;
    this.#bar?.setTotal(total);
  }

  /** An unknown total leaves the bar empty. */
  #startBar(bar: SingleBar): void {
    bar.start(this.#total ?? 1, this.#place, { text: this.#text() });
  }

  /** Where the bar stands. */
  get #place(): number {
    return this.#total === undefined ? 0 : this.#step;
  }

  /** Call after each step. */
  update({ step, loss, samples, dataWaitSeconds }: ProgressUpdate): void {
    const time = this.#now();
    // A run that went back has no speed until it gets on again.
    if (step <= this.#step) this.#marks.length = 0;
    this.#step = step;
    this.#loss = loss;
    this.#samples += samples;
    if (dataWaitSeconds !== undefined) {
      this.#waitSeconds = (this.#waitSeconds ?? 0) + dataWaitSeconds;
    }
    this.#marks.push({ time, step, samples: this.#samples, waitSeconds: this.#waitSeconds });
    while (this.#marks.length > 2 && this.#marks[1]!.time <= time - SPEED_WINDOW_MS) {
      this.#marks.shift();
    }
    if (this.#bar) {
      this.#bar.update(this.#place, { text: this.#text() });
    } else if (time - this.#lineTime >= LINE_INTERVAL_MS) {
      this.#writeLine();
    }
  }

  /** Leaves time that was spent on something else than steps out of the speed. */
  pause(milliseconds: number): void {
    for (const mark of this.#marks) mark.time += milliseconds;
  }

  /** Writes a line of text, above the bar where there is one. */
  message(text: string): void {
    this.#bar?.stop();
    this.#stream.write(`${text}\n`);
    if (this.#bar) this.#startBar(this.#bar);
  }

  /** Ends with a line of the last numbers. Needed after a failure too: the bar keeps the process alive. */
  stop(): void {
    this.#bar?.stop();
    this.#writeLine();
  }

  #writeLine(): void {
    this.#lineTime = this.#now();
    const line = `${this.#text()}\n`;
    if (line !== this.#line) this.#stream.write(line);
    this.#line = line;
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
      const left = (((total ?? 0) - last.step) * seconds) / (last.step - first.step);
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

/** For example 0.85 GB or 12.3 GB. */
function gigabytes(bytes: number): string {
  const value = bytes / 1e9;
  return `${value.toFixed(value < 1 ? 2 : 1)} GB`;
}

/** For example 45 s, 3 min 20 s or 2 h 5 min. */
function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
