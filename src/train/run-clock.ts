/** The speed is a mean over about this part of the time asked: it follows a machine that gets busy or idle. */
const MEAN_PART = 0.1;
/** Steps that tell the speed, unless fewer fill that part of the time. The first one starts the machinery. */
const TIMED_STEPS = 8;
/** A step of more than so many usual ones was held up, as by a checkpoint: the rest of it is no speed. */
const LONG_STEPS = 3;
/** One of more than so many seconds and so many usual ones was slept through by the machine. */
const SLEEP_SECONDS = 60;
const SLEEP_STEPS = 100;

/** What {@link RunClock.step} tells of a step. */
export interface StepTime {
  /** Seconds since the step before, without those spent aside and slept. */
  readonly seconds: number;
  /** Seconds in which the machine or the process slept, which count for nothing; mostly 0. */
  readonly sleptSeconds: number;
}

/** A run's time: all of it counts for its minutes, and that of its steps for its speed. */
export class RunClock {
  readonly #secondsAsked: number;
  readonly #secondsBefore: number;
  readonly #now: () => number;
  #start = 0;
  #lastStep = 0;
  /** Seconds spent on something else than steps. */
  #asideSeconds = 0;
  /** Seconds by which steps were held up. */
  #heldSeconds = 0;
  #stepsTaken = 0;
  /** Seconds of the steps timed. */
  #timedSeconds = 0;
  /** Seconds and steps of late: what is older counts for less and less. */
  #recentSeconds = 0;
  #recentSteps = 0;

  /**
   * @param secondsAsked how long the run is to take
   * @param secondsBefore what was spent before, in a run that is resumed
   * @param now a clock in milliseconds that never goes back
   */
  constructor(secondsAsked: number, secondsBefore = 0, now = () => performance.now()) {
    this.#secondsAsked = secondsAsked;
    this.#secondsBefore = secondsBefore;
    this.#now = now;
    this.begin();
  }

  /** Call before the first step: what came earlier is no training. */
  begin(): void {
    this.#start = this.#now();
    this.#lastStep = this.#start;
  }

  /** Seconds spent on steps since {@link begin}. */
  get secondsTaken(): number {
    return this.#secondsHere - this.#asideSeconds;
  }

  /** Seconds spent in all of the run, whatever on. */
  get secondsSpent(): number {
    return this.#secondsBefore + this.#secondsHere;
  }

  /** Seconds left of those asked; below 0 when they are used up. */
  get secondsLeft(): number {
    return this.#secondsAsked - this.secondsSpent;
  }

  get isHalfOver(): boolean {
    return this.secondsSpent >= this.#secondsAsked / 2;
  }

  /** Seconds that a step takes of late; NaN before there was one. */
  get secondsAStep(): number {
    return this.#recentSeconds / this.#recentSteps;
  }

  /** Call after each step. */
  step(): StepTime {
    const time = this.#now();
    const usual = this.#knowsSpeed ? this.secondsAStep : Number.POSITIVE_INFINITY;
    let seconds = (time - this.#lastStep) / 1000;
    let sleptSeconds = 0;
    this.#lastStep = time;
    if (seconds > Math.max(SLEEP_SECONDS, SLEEP_STEPS * usual)) {
      sleptSeconds = seconds - usual;
      seconds = usual;
      this.#start += 1000 * sleptSeconds;
    }
    this.#time(Math.min(seconds, LONG_STEPS * usual));
    this.#heldSeconds += Math.max(0, seconds - LONG_STEPS * usual);
    return { seconds, sleptSeconds };
  }

  /** Takes in time that was spent on something else than steps, and that ends now. */
  aside(milliseconds: number): void {
    this.#asideSeconds += milliseconds / 1000;
    this.#lastStep += milliseconds;
  }

  /**
   * Steps that the time left is enough for, to the nearest, if as much of it goes by aside as before;
   * undefined while that is too early to say.
   *
   * @param endSeconds what comes after the last step takes
   */
  stepsLeft(endSeconds = 0): number | undefined {
    const left = Math.max(0, this.secondsLeft - endSeconds);
    const lost = (this.#asideSeconds + this.#heldSeconds) / this.#secondsHere;
    const steps = Math.round((left * (1 - lost)) / this.secondsAStep);
    return steps === 0 || this.#knowsSpeed ? steps : undefined;
  }

  get #secondsHere(): number {
    return (this.#now() - this.#start) / 1000;
  }

  get #knowsSpeed(): boolean {
    return this.#stepsTaken > TIMED_STEPS || this.#timedSeconds >= MEAN_PART * this.#secondsAsked;
  }

  #time(seconds: number): void {
    this.#stepsTaken++;
    if (this.#stepsTaken > 1) this.#timedSeconds += seconds;
    // The first one is forgotten as soon as there is another.
    const kept = this.#stepsTaken <= 2 ? 0 : Math.exp(-seconds / (MEAN_PART * this.#secondsAsked));
    this.#recentSeconds = kept * this.#recentSeconds + seconds;
    this.#recentSteps = kept * this.#recentSteps + 1;
  }
}
