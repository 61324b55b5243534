import {
  inMemory,
  isInMemory,
  type Shard,
  type Skipped,
  type StreamSource,
  takePart,
} from "../data/index.js";
import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import type { ResolvedTrainingOptions, TrainingOptions } from "./options.js";
import { checkValidation, type ValidationData, validationSamples } from "./run-validation.js";

/** Throws ClipsmithError where options ask of the sources what they cannot do. */
export function checkSources(
  sources: readonly StreamSource[],
  { blend = 0, epochs, sourceWeights }: TrainingOptions,
): void {
  if (epochs !== undefined && sources.length > 1) {
    throw new ClipsmithError(
      "training.epochs counts passes over one collection, but several are drawn from by weight. Say how " +
        "long to train by minutes or steps.",
    );
  }
  if (blend > 0 && !sources.every(isInMemory)) {
    throw new ClipsmithError(
      "training.blend mixes pictures that have the same captions, so all must be known beforehand: it " +
        "works with folders and lists, and not with shards. Leave it out.",
    );
  }
  if (sourceWeights !== undefined && sourceWeights.length !== sources.length) {
    const weights = counted(sourceWeights.length, "weight");
    throw new ClipsmithError(
      `training.sourceWeights has ${weights} for ${counted(sources.length, "source")}: give one for each.`,
    );
  }
}

/** A source's samples, where they have been read already. */
export function known(source: StreamSource): StreamSource {
  return isInMemory(source) ? source : (inMemory(source)?.samples ?? source);
}

/** The same source; `onEntry` is called for each entry that is read of its shards. */
export function observed(source: StreamSource, onEntry: () => void): StreamSource {
  if (isInMemory(source)) return source;
  const shards = source.shards.map(
    (shard): Shard => ({
      name: shard.name,
      async *read(start) {
        for await (const entry of shard.read(start)) {
          onEntry();
          yield entry;
        }
      },
    }),
  );
  return { name: source.name, shards };
}

/** What sources that are read beforehand leave out, and how many samples they have. */
export interface LeftOut {
  readonly skipped: readonly Skipped[];
  readonly usable: number;
}

/** What is left out of sources that have been read already; of others, their streams tell. */
export function leftOutOf(sources: readonly StreamSource[]): LeftOut {
  const read = sources.flatMap((source) => (isInMemory(source) ? [] : (inMemory(source) ?? [])));
  return {
    skipped: read.flatMap(({ skipped }) => skipped),
    usable: read.reduce((sum, { samples }) => sum + samples.length, 0),
  };
}

/** What to validate on, if anything. */
export async function heldSamples(
  sources: readonly StreamSource[],
  training: ResolvedTrainingOptions,
  collection: StreamSource | undefined,
): Promise<ValidationData | undefined> {
  checkValidation(training, collection !== undefined);
  if (training.validation === undefined) return undefined;
  const { part, samples } = training.validation;
  return validationSamples(collection ? [collection] : sources, samples, part);
}

/** The sources without what is held out of them. */
export function learntFrom(
  sources: readonly StreamSource[],
  { validation }: Pick<ResolvedTrainingOptions, "validation">,
): readonly StreamSource[] {
  const part = validation?.part;
  return part === undefined ? sources : sources.map((source) => takePart(source, part, false));
}
