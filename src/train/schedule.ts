export interface WarmupCosineOptions {
  /** The highest learning rate, reached at the end of the warm-up. */
  readonly learningRate: number;
  /** Steps of linear growth before the decay; 0 for none. */
  readonly warmupSteps: number;
  /** Steps of the whole run, warm-up included. */
  readonly totalSteps: number;
  /** The learning rate at the end. Default 0. */
  readonly floor?: number;
}

/**
 * Linear warm-up, then half a cosine down to `floor` (Loshchilov and Hutter, "SGDR", ICLR 2017, without
 * restarts). Steps count from 0; the first one already learns, and later ones than the last stay at
 * `floor`.
 *
 * @returns the learning rate of a step
 */
export function warmupCosine({
  learningRate,
  warmupSteps,
  totalSteps,
  floor = 0,
}: WarmupCosineOptions): (step: number) => number {
  return (step) => {
    if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
    const done = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
    return floor + ((learningRate - floor) * (1 + Math.cos(Math.PI * done))) / 2;
  };
}
