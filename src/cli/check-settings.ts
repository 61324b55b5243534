import type { TrainingOptions } from "../train/index.js";
import { ClipsmithError } from "../util/errors.js";
import type { Tree } from "./settings-tree.js";

/**
 * Refuses settings that are at odds with one another, if both were asked for: a preset's give way.
 *
 * @throws ClipsmithError naming both.
 */
export function checkGiven({ training = {} }: Tree): void {
  const { minutes, steps, epochs, warmupSteps, initialLogitScale, maxLogitScale } =
    training as TrainingOptions;
  const refuse = (problem: string): never => {
    throw new ClipsmithError(`training: ${problem}`);
  };
  const lengths = Object.entries({ minutes, steps, epochs }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} (${value})`],
  );
  if (lengths.length > 1) {
    refuse(`${lengths.slice(0, 2).join(" and ")} both say how long to train: leave one out`);
  }
  if (steps !== undefined && warmupSteps !== undefined && warmupSteps >= steps) {
    refuse(
      `warmupSteps (${warmupSteps}) must be less than steps (${steps}), or the learning rate never ` +
        "reaches its height",
    );
  }
  if (initialLogitScale !== undefined && initialLogitScale > (maxLogitScale ?? Infinity)) {
    refuse(
      `initialLogitScale (${initialLogitScale}) must not exceed maxLogitScale (${maxLogitScale})`,
    );
  }
}
