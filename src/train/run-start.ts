import { CLIP } from "../clip/index.js";
import type { ModelParts } from "../model/index.js";
import { initialize } from "../nn/index.js";
import type { Checkpoint } from "./checkpoint.js";
import type { Configuration } from "./configuration.js";
import { ParameterGroups } from "./groups.js";
import type { ResolvedTrainingOptions } from "./options.js";

/** What a run starts from: afresh, or at a checkpoint. */
export interface RunStart extends ModelParts {
  readonly training: ResolvedTrainingOptions;
  /** Pairs in a batch. */
  readonly batchSize: number;
  /** Steps of the whole run, if they are settled. */
  readonly totalSteps: number | undefined;
  readonly checkpoint: Checkpoint | undefined;
  /** What its checkpoints are to remember. */
  readonly configuration: Configuration;
  readonly warnings: readonly string[];
}

/** What the training options say of a model's parameters. Throws ClipsmithError if they cannot. */
export function groupsOf(clip: CLIP, options: ResolvedTrainingOptions): ParameterGroups {
  const learnable = [...clip.parameters].filter(([, { trainable }]) => trainable);
  return new ParameterGroups(
    learnable.map(([name]) => name),
    options,
  );
}

/** Steps of the whole run, unless they depend on how long one takes. */
export function stepsOf(
  { steps, epochs, dropLast }: ResolvedTrainingOptions,
  batchSize: number,
  samples: number,
): number | undefined {
  if (epochs === undefined) return steps;
  const batches = (epochs * samples) / batchSize;
  return Math.max(1, dropLast ? Math.floor(batches) : Math.ceil(batches));
}

/** x-clip's starting values, but for the embeddings, the logit scale and the bias of the sigmoid loss. */
export function startingWeights(
  clip: CLIP,
  options: ResolvedTrainingOptions,
  batchSize: number,
): Map<string, Float32Array> {
  const weights = initialize(clip.parameters, options.seed);
  for (const [name, { initializer }] of clip.parameters) {
    if (initializer.kind !== "normal") continue;
    const values = weights.get(name)!;
    for (let i = 0; i < values.length; i++) values[i]! *= options.embeddingDeviation;
  }
  weights.get(CLIP.logitScale)![0] = Math.log(
    Math.min(options.initialLogitScale, options.maxLogitScale ?? Number.POSITIVE_INFINITY),
  );
  // The odds of a match: the many pairs that don't then weigh no more than those that do.
  const bias = weights.get(CLIP.logitBias);
  if (bias) bias[0] = -Math.log(batchSize - 1);
  return weights;
}
