import { SingleBar } from "cli-progress";

/** Where progress is shown. */
export type ProgressStream = NodeJS.WritableStream & { readonly isTTY?: boolean };

export interface ProgressLineOptions {
  /** What there is to say now. */
  readonly text: () => string;
  /** Where a full bar ends; undefined as long as nobody knows, which leaves the bar empty. */
  readonly total: number | undefined;
  /** Where it stands at first. Default 0. */
  readonly place?: number;
  /** Default: standard error, so that standard output stays free for results. */
  readonly stream?: ProgressStream;
  /** A clock in milliseconds. Default: performance.now. */
  readonly now?: () => number;
}

/** Milliseconds between lines where there is no terminal: a log of a long run stays readable. */
const LINE_INTERVAL_MS = 10_000;

/**
 * Tells how something is getting on: behind a bar on a terminal, and otherwise in plain lines, at most one
 * in ten seconds besides the first and the last.
 */
export class ProgressLine {
  readonly #text: () => string;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #bar: SingleBar | undefined;
  #total: number | undefined;
  #place: number;
  #lineTime = -Infinity;
  #line = "";

  constructor({
    text,
    total,
    place = 0,
    stream = process.stderr,
    now = () => performance.now(),
  }: ProgressLineOptions) {
    this.#text = text;
    this.#stream = stream;
    this.#now = now;
    this.#total = total;
    this.#place = place;
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

  /** Where a full bar ends, where it was not known before. */
  set total(total: number) {
    this.#total = total;
    this.#bar?.setTotal(total);
  }

  update(place: number): void {
    this.#place = place;
    if (this.#bar) {
      this.#bar.update(this.#shown, { text: this.#text() });
    } else if (this.#now() - this.#lineTime >= LINE_INTERVAL_MS) {
      this.#writeLine();
    }
  }

  /** Writes a line of text, above the bar where there is one. */
  message(text: string): void {
    this.#bar?.stop();
    this.#stream.write(`${text}\n`);
    if (this.#bar) this.#startBar(this.#bar);
  }

  /** Ends with a last line. Needed after a failure too: the bar keeps the process alive. */
  stop(): void {
    this.#bar?.stop();
    this.#writeLine();
  }

  get #shown(): number {
    return this.#total === undefined ? 0 : this.#place;
  }

  #startBar(bar: SingleBar): void {
    bar.start(this.#total ?? 1, this.#shown, { text: this.#text() });
  }

  #writeLine(): void {
    this.#lineTime = this.#now();
    const line = `${this.#text()}\n`;
    if (line !== this.#line) this.#stream.write(line);
    this.#line = line;
  }
}

/** For example 0.85 GB or 12.3 GB. */
export function gigabytes(bytes: number): string {
  const value = bytes / 1e9;
  return `${value.toFixed(value < 1 ? 2 : 1)} GB`;
}

/** For example 45 s, 3 min 20 s or 2 h 5 min. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
