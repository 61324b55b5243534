/** A longer time between two looks was spent with the process stopped, and does not count. */
export const LONGEST_STEP_SECONDS = 1;

/**
 * For how long this rank has given no sign of life: its program none by `Communicator.atWork`, and no operation
 * begun.
 */
export class Silence {
  readonly #signals: Int32Array;
  #signs = 0;
  #seconds = 0;
  #last = performance.now();

  /** @param signals [2] changes with every sign */
  constructor(signals: Int32Array) {
    this.#signals = signals;
  }

  /** Gives a sign. */
  end(): void {
    this.#seconds = 0;
  }

  /** Seconds since the last sign, or since the start. Has to be asked for several times a second. */
  look(): number {
    const [signs, now] = [Atomics.load(this.#signals, 2), performance.now()];
    this.#seconds += Math.min((now - this.#last) / 1000, LONGEST_STEP_SECONDS);
    if (signs !== this.#signs) this.end();
    this.#signs = signs;
    this.#last = now;
    return this.#seconds;
  }
}
