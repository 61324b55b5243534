export type Schedule = "cosine" | "linear" | "constant";

export interface ScheduleOptions {
  /** What follows the warm-up. Default `"cosine"`. */
  readonly schedule?: Schedule;
  /** The highest learning rate, reached at the end of the warm-up. */
  readonly learningRate: number;
  /** Steps of linear growth before the decay; 0 for none. */
  readonly warmupSteps: number;
  /** Steps of the whole run, warm-up included. */
  readonly totalSteps: number;
  /** The learning rate at the end, unless it is constant. Default 0. */
  readonly floor?: number;
}

/**
 * Linear warm-up; then half a cosine down to `floor` (Loshchilov and Hutter, "SGDR", ICLR 2017, without
 * restarts), or a straight line, or no decay. Steps count from 0; the first one already learns, and later
 * ones than the last stay at `floor`.
 *
 * @returns the learning rate of a step
 */
export function learningRateAt(
  step: number,
  { schedule = "cosine", learningRate, warmupSteps, totalSteps, floor = 0 }: ScheduleOptions,
): number {
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const done = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
  return floor + (learningRate - floor) * left[schedule](done);
}

/** The part of the decay that is still to come, when a part of the steps is done. */
const left: Readonly<Record<Schedule, (done: number) => number>> = {
  cosine: (done) => (1 + Math.cos(Math.PI * done)) / 2,
  linear: (done) => 1 - done,
  constant: () => 1,
};
