import type { NewRun } from "../src/train/index.js";

/** How the quickstart trains for so many minutes on two cores. */
export function recipe(minutes: number): NewRun {
  return {
    vocabularySize: 4096,
    model: {
      clip: {},
      preprocessing: { fit: "contain" },
    },
    training: { minutes },
  };
}
