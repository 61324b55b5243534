export type Schedule = "cosine" | "linear" | "constant";

export interface ScheduleOptions {
  /** What follows the warm-up. Default `"cosine"`. */
  readonly schedule?: Schedule;
  /** The highest learning rate, reached at the end of the warm-up. */
  readonly learningRate: number;
  /** Steps of linear growth before the decay; 0 for none. */
  readonly warmupSteps: number;
  /** The learning rate at the end, unless it is constant. Default 0. */
  readonly floor?: number;
}

/**
 * Linear warm-up; then half a cosine down to `floor` (Loshchilov and Hutter, "SGDR", ICLR 2017, without
 * restarts), or a straight line, or no decay. Steps count from 0; the first one already learns, and later
 * ones than the last stay at `floor`.
 *
 * @returns the learning rate of a step in a run of `totalSteps`, warm-up included
 */
export function learningRateAt(
  step: number,
  { totalSteps, ...options }: ScheduleOptions & { readonly totalSteps: number },
): number {
  const { warmupSteps } = options;
  const done = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
  return decayedLearningRateAt(step, Math.max(0, done), options);
}

/**
 * The same where the decay follows something else than steps, such as time. It may begin before the warm-up
 * is over: then it is a decay of what the warm-up has reached.
 *
 * @param decayed the part of the decay that is done, from 0 to 1
 */
export function decayedLearningRateAt(
  step: number,
  decayed: number,
  { schedule = "cosine", learningRate, warmupSteps, floor = 0 }: ScheduleOptions,
): number {
  const rate = floor + (learningRate - floor) * left[schedule](decayed);
  return step < warmupSteps ? (rate * (step + 1)) / warmupSteps : rate;
}

/** The part of the decay that is still to come, when a part of the steps is done. */
const left: Readonly<Record<Schedule, (done: number) => number>> = {
  cosine: (done) => (1 + Math.cos(Math.PI * done)) / 2,
  linear: (done) => 1 - done,
  constant: () => 1,
};
