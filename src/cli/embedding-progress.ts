import { duration, ProgressLine, type ProgressStream } from "../util/progress-line.js";

export interface EmbeddingProgressOptions {
  /** Pictures in all; undefined if nobody knows. */
  readonly total: number | undefined;
  /** Pictures that were done before. Default 0. */
  readonly done?: number;
  /** Shards to read, told where the total is not known. */
  readonly shards?: number;
  /** Default: standard error. */
  readonly stream?: ProgressStream;
  /** A clock in milliseconds. Default: performance.now. */
  readonly now?: () => number;
}

/** Speed is measured over about this time. */
const SPEED_WINDOW_MS = 30_000;

/** A point in time, and what was done up to it. */
interface Mark {
  readonly time: number;
  readonly done: number;
  readonly waitSeconds: number | undefined;
}

/** Shows how embedding is getting on: pictures or shards, speed, time left, the share of waiting. */
export class EmbeddingProgress {
  readonly #total: number | undefined;
  readonly #shards: number | undefined;
  readonly #now: () => number;
  readonly #line: ProgressLine;
  /** Shards behind. */
  #shard = 0;
  #waitSeconds: number | undefined;
  /** Points of the speed window, the oldest first. */
  readonly #marks: Mark[];

  constructor({
    total,
    done = 0,
    shards,
    stream,
    now = () => performance.now(),
  }: EmbeddingProgressOptions) {
    this.#total = total;
    this.#shards = shards;
    this.#now = now;
    this.#marks = [{ time: now(), done, waitSeconds: 0 }];
    this.#line = new ProgressLine({
      text: () => this.#text(),
      total: total ?? shards,
      place: total === undefined ? 0 : done,
      now,
      ...(stream && { stream }),
    });
  }

  /**
   * @param done pictures in all
   * @param shard shards behind
   * @param waitSeconds how long the model waited for the last batch; left out, no share of waiting is shown
   */
  update(done: number, shard = 0, waitSeconds?: number): void {
    const time = this.#now();
    this.#shard = shard;
    if (waitSeconds !== undefined) this.#waitSeconds = (this.#waitSeconds ?? 0) + waitSeconds;
    this.#marks.push({ time, done, waitSeconds: this.#waitSeconds });
    while (this.#marks.length > 2 && this.#marks[1]!.time <= time - SPEED_WINDOW_MS) {
      this.#marks.shift();
    }
    this.#line.update(this.#total === undefined ? shard : done);
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
    const count = (value: number) => value.toLocaleString("en");
    const first = this.#marks[0]!;
    const last = this.#marks.at(-1)!;
    const total = this.#total === undefined ? "" : `/${count(this.#total)}`;
    const parts = [`${count(last.done)}${total} pictures`];
    if (this.#total === undefined && this.#shards !== undefined) {
      parts.push(`shard ${Math.min(this.#shard + 1, this.#shards)}/${this.#shards}`);
    }
    const seconds = (last.time - first.time) / 1000;
    const speed = (last.done - first.done) / seconds;
    if (seconds > 0 && speed > 0) {
      parts.push(`${speed.toPrecision(3)} pictures/s`);
      const left = ((this.#total ?? 0) - last.done) / speed;
      if (left > 0) parts.push(`${duration(left)} left`);
      if (last.waitSeconds !== undefined) {
        const waited = (last.waitSeconds - (first.waitSeconds ?? 0)) / seconds;
        parts.push(`${Math.round(100 * waited)} % waiting for data`);
      }
    }
    return parts.join(", ");
  }
}
