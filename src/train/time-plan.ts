import type { RunClock } from "./run-clock.js";

/** How a run by minutes goes on. */
export interface TimePlan {
  /** Steps of the whole run, as far as can be said. */
  readonly totalSteps?: number | undefined;
  /** The part of the learning rate's decay that is done, before the next step. */
  readonly decayed: number;
}

/**
 * The plan after a step. From where it stands, the learning rate goes on evenly over the steps that are
 * left, so it never jumps, however often their number changes, and comes to its end with the time. The decay
 * begins after the warm-up, or at half of the time: else a slow machine would do nothing but warm up.
 *
 * @param step steps taken
 * @param before the plan so far, whose steps hold while the clock cannot tell better
 * @param endSeconds what comes after the last step takes
 */
export function planAfter(
  step: number,
  before: TimePlan,
  clock: Pick<RunClock, "stepsLeft" | "isHalfOver">,
  { warmupSteps, endSeconds = 0 }: { readonly warmupSteps: number; readonly endSeconds?: number },
): TimePlan {
  const planned = before.totalSteps && Math.max(0, before.totalSteps - step);
  const left = clock.stepsLeft(endSeconds) ?? planned;
  if (left === undefined) return before;
  const { decayed } = before;
  return {
    totalSteps: step + left,
    decayed:
      step > warmupSteps || clock.isHalfOver ? decayed + (1 - decayed) / (left + 1) : decayed,
  };
}
