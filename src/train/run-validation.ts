import {
  type Sample,
  type SampleSource,
  type Skipped,
  type SourceSample,
  type StreamSource,
  shortName,
  takePart,
} from "../data/index.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { type Best, bestOf } from "./early-stop.js";
import type { Metrics } from "./metrics.js";
import type { ResolvedTrainingOptions } from "./options.js";
import type { Validation } from "./validation.js";

/** Seconds between validations where neither they nor steps are given. */
const DEFAULT_SECONDS = 600;

/** What {@link RunValidation.run} found. */
export interface ValidationReport {
  /** A line for the run's metrics: `validation.loss`, `validation.textToImage.r1` and so on. */
  readonly metrics: Metrics;
  /** The same for people. */
  readonly message: string;
  /** Whether the run is to end with what this step made, as far as is known. */
  readonly isBest: boolean;
}

/** When a run is measured, and what has become of it so far. */
export class RunValidation {
  readonly #validation: Validation;
  readonly #options: NonNullable<ResolvedTrainingOptions["validation"]>;
  readonly #earlyStop: ResolvedTrainingOptions["earlyStop"];
  #best: Best | undefined;
  #lastTime = performance.now();
  /** What the last one took. */
  #lastSeconds: number | undefined;

  /** @param best that of a resumed run, so far */
  constructor(
    validation: Validation,
    { validation: options, earlyStop }: Pick<ResolvedTrainingOptions, "validation" | "earlyStop">,
    best?: Best,
  ) {
    this.#validation = validation;
    this.#options = options!;
    this.#earlyStop = earlyStop;
    this.#best = best;
  }

  /** The best validation, if the run may stop early. */
  get best(): Best | undefined {
    return this.#best;
  }

  /** Whether it is time: after so many steps or seconds, and in the end. */
  isDue(step: number, isLast: boolean): boolean {
    const { everySteps, everySeconds } = this.#options;
    if (isLast || (everySteps !== undefined && step % everySteps === 0)) return true;
    const seconds = everySeconds ?? (everySteps === undefined ? DEFAULT_SECONDS : Infinity);
    return performance.now() - this.#lastTime >= 1000 * seconds;
  }

  /**
   * Seconds that the next one takes, as far as is known: as many as the last one; before there was one, what it
   * takes to learn from as many pairs. There is less to compute, but pictures are not read ahead.
   */
  expectedSeconds(secondsAPair: number): number {
    return this.#lastSeconds ?? this.#validation.size * secondsAPair;
  }

  /** Measures a model with these weights. */
  async run(step: number, weights: ReadonlyMap<string, Float32Array>): Promise<ValidationReport> {
    const began = performance.now();
    const figures = await this.#validation.run(weights);
    this.#lastTime = performance.now();
    this.#lastSeconds = (this.#lastTime - began) / 1000;
    if (this.#earlyStop) {
      const { metric } = this.#earlyStop;
      this.#best = bestOf(metric, this.#best, { step, value: figures[metric] });
    }
    const named = Object.entries(figures).map(([name, value]) => [`validation.${name}`, value]);
    const percent = (recall: number) => `${(100 * recall).toFixed(1)} %`;
    return {
      metrics: { step, ...Object.fromEntries(named) },
      message:
        `Validation after step ${step}: loss ${figures.loss.toFixed(4)}, recall at 1 ` +
        `${percent(figures["textToImage.r1"])} text to image, ${percent(figures["imageToText.r1"])} ` +
        `image to text, of ${this.#validation.size} pictures.`,
      isBest: this.#best?.step === step,
    };
  }

  async release(): Promise<void> {
    await this.#validation.release();
  }
}

/** Whether a run has not become better for so many validations as its options wait for. */
export function isOver(
  { earlyStop }: Pick<ResolvedTrainingOptions, "earlyStop">,
  best: Best | undefined,
): boolean {
  return earlyStop !== undefined && (best?.validationsSince ?? 0) >= earlyStop.patience;
}

/**
 * Refuses options of validation that are at odds with each other or with what there is to validate on.
 *
 * @throws ClipsmithError naming them
 */
export function checkValidation(
  { validation, earlyStop }: Pick<ResolvedTrainingOptions, "validation" | "earlyStop">,
  hasCollection: boolean,
): void {
  const refuse = (problem: string): never => {
    throw new ClipsmithError(`training: ${problem}`);
  };
  if (validation === undefined) {
    if (earlyStop) refuse("earlyStop needs validation, such as validation.part=0.05");
    return;
  }
  const { part, everySteps, everySeconds } = validation;
  if (part !== undefined && hasCollection) {
    refuse(
      `validation.part (${part}) holds samples out of the collection, but --validation names another: ` +
        "leave one out",
    );
  }
  if (part === undefined && !hasCollection) {
    refuse("validation needs samples: a validation.part, such as 0.05, or --validation COLLECTION");
  }
  if (everySteps !== undefined && everySeconds !== undefined) {
    refuse(
      `validation.everySteps (${everySteps}) and validation.everySeconds (${everySeconds}) are two ` +
        "intervals: leave one out",
    );
  }
}

/** What a run is validated on. */
export interface ValidationData {
  readonly samples: readonly SourceSample[];
  /** What was come upon and cannot be used. */
  readonly skipped: readonly Skipped[];
}

/**
 * At most `count` samples of sources, the same at each call: of those in memory some drawn by their names, of
 * shards the first ones.
 *
 * @param part only those that are held out, this part of all; left out: all
 * @throws ClipsmithError when there are not two
 */
export async function validationSamples(
  sources: readonly StreamSource[],
  count: number,
  part?: number,
): Promise<ValidationData> {
  const each = Math.ceil(count / sources.length);
  const chosen: SourceSample[] = [];
  const skipped: Skipped[] = [];
  for (const source of sources) {
    const held = part === undefined ? source : takePart(source, part, true);
    if ("shards" in held) chosen.push(...(await firstSamples(held, each, skipped)));
    else chosen.push(...drawnSamples(held, each));
  }
  if (chosen.length < 2) {
    throw new ClipsmithError(
      `Validation needs at least two pictures with captions; found ${chosen.length}. ` +
        "Hold out a larger training.validation.part, or name a collection by --validation.",
    );
  }
  return { samples: chosen, skipped };
}

function drawnSamples(samples: readonly Sample[], count: number): SourceSample[] {
  const order = samples.map((sample) => ({
    sample,
    place: random("validation", shortName(sample.picture)).uniform(),
  }));
  order.sort((a, b) => a.place - b.place);
  return order.slice(0, count).map(({ sample }) => ({ ...sample, name: sample.picture }));
}

async function firstSamples(
  { shards }: SampleSource,
  count: number,
  skipped: Skipped[],
): Promise<SourceSample[]> {
  const samples: SourceSample[] = [];
  for (const shard of shards) {
    for await (const entry of shard.read()) {
      if ("reason" in entry) {
        skipped.push(entry);
        continue;
      }
      samples.push(entry);
      if (samples.length === count) return samples;
    }
  }
  return samples;
}
