/** Minutes become a number of steps after this many steps at least ... */
const TIMED_STEPS = 8;
/** ... and this part of the time, by the last ones: those with pictures still to decode are slow. */
const TIMED_PART = 0.2;

/** The time that a run spends on training: all but its pauses. */
export class RunClock {
  readonly #now: () => number;
  readonly #secondsBefore: number;
  /** Of the last steps. */
  readonly #stepSeconds: number[] = [];
  #start: number;
  #lastStep: number;

  /**
   * Starts it.
   *
   * @param secondsBefore what was spent before, in a run that is resumed
   * @param now a clock in milliseconds
   */
  constructor(secondsBefore = 0, now = () => performance.now()) {
    this.#secondsBefore = secondsBefore;
    this.#now = now;
    this.#start = now();
    this.#lastStep = this.#start;
  }

  /** Seconds since it was started. */
  get secondsTaken(): number {
    return (this.#now() - this.#start) / 1000;
  }

  /** Seconds spent in all of the run. */
  get secondsSpent(): number {
    return this.#secondsBefore + this.secondsTaken;
  }

  /** Call after each step; returns the seconds since the one before. */
  step(): number {
    const time = this.#now();
    const seconds = (time - this.#lastStep) / 1000;
    this.#lastStep = time;
    this.#stepSeconds.push(seconds);
    if (this.#stepSeconds.length > TIMED_STEPS) this.#stepSeconds.shift();
    return seconds;
  }

  /** Leaves out time that was spent on something else than training. */
  pause(milliseconds: number): void {
    this.#start += milliseconds;
    this.#lastStep += milliseconds;
  }

  /** Steps that fill a run of so many minutes, `step` of them taken; undefined while that is too early to say. */
  totalSteps(step: number, minutes: number): number | undefined {
    const spent = this.secondsSpent;
    const seconds = minutes * 60;
    if (this.#stepSeconds.length < TIMED_STEPS || spent < TIMED_PART * seconds) return undefined;
    return step + Math.max(0, Math.round((seconds - spent) / median(this.#stepSeconds)));
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
