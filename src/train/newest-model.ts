import { join } from "node:path";
import { CLIP, type ClipParts } from "../clip/index.js";
import { loadDescription, type ModelParts } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { latestCheckpoint, newestStep, type SavedCheckpoint } from "./checkpoint.js";
import { modelWeights } from "./run-checkpoints.js";
import { runFiles } from "./run-folder.js";
import { runStateSchema } from "./run-state.js";

/** A run's model as far as it was trained when its newest checkpoint was saved. */
export interface NewestModel extends ModelParts {
  /** Steps taken. */
  readonly step: number;
  /** Seconds spent on them. */
  readonly seconds: number;
}

/**
 * Reads the model of a run's newest checkpoint that is whole, while the run is under way or after it was
 * stopped. A `Model` made of it embeds with it.
 *
 * @param run the run's folder
 * @param after only a checkpoint of a later step; default 0, which is before the first step
 * @param parts encoders of your own, those that the model is trained with
 * @returns undefined while there is no such checkpoint
 * @throws ClipsmithError if all checkpoints are damaged, or not of the folder's model.
 */
export async function newestModel(
  run: string,
  { after = 0, parts = {} }: { readonly after?: number; readonly parts?: ClipParts } = {},
): Promise<NewestModel | undefined> {
  const checkpoint = await latestAfter(join(run, runFiles.checkpoints), after);
  if (checkpoint === undefined) return undefined;
  const { config, tokenizer } = await loadDescription(run);
  const { step, state } = checkpoint;
  const { seconds } = runStateSchema.parse(state);
  const weights = modelWeights(checkpoint, new CLIP(config.clip, parts));
  return { config, tokenizer, weights, step, seconds };
}

async function latestAfter(folder: string, after: number): Promise<SavedCheckpoint | undefined> {
  for (;;) {
    const newest = await newestStep(folder);
    if (newest === undefined || newest <= after) return undefined;
    try {
      const { latest } = await latestCheckpoint(folder);
      return latest && latest.step > after ? latest : undefined;
    } catch (error) {
      // A run that saves often may remove what is being read: then there is a newer one.
      if (!(error instanceof ClipsmithError) || (await newestStep(folder)) === newest) throw error;
    }
  }
}
