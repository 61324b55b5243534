import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import type { SampleFacts } from "./batch-samples.js";
import { comparesNothing, type Identities } from "./identities.js";

/** A run of which nothing can come: it would stop again. */
export class NothingToLearnError extends ClipsmithError {}

/** After so many samples and steps without anything to compare, there is no hope for more ... */
const HOPELESS_SAMPLES = 1000;
const HOPELESS_STEPS = 20;
/** ... and with fewer samples than this at a run's end, it may have been chance. */
const LEAST_SAMPLES = 10;

/** How many of a collection's pictures are looked at. */
const MOST_PICTURES = 100_000;
/** What is found after so many pictures is told before all were seen. */
const EARLY_PICTURES = 1000;

/** Pictures that are one and the same. */
interface Group {
  /** The name of the first. */
  readonly name: string;
  count: number;
}

/**
 * Watches over batches for pictures that are all the same. A host that answers with a placeholder for every
 * picture that it no longer has makes a collection of which nothing can be learnt: equal pictures are no
 * negatives of each other, and the loss of a batch without negatives is 0.
 */
export class EqualPictures {
  readonly #fromStart: boolean;
  #steps = 0;
  /** Those that had nothing to compare. */
  #idleSteps = 0;
  #samples = 0;
  #first: { readonly name: string; readonly fingerprint: number } | undefined;
  #allSame = true;
  /** Pictures seen in the first epoch, so each of them once; undefined when all are told. */
  #groups: Map<number, Group> | undefined = new Map();
  #pictures = 0;
  #news: string[] = [];

  /** @param fromStart whether the first batch will be the run's first: else it has seen others before */
  constructor(fromStart: boolean) {
    this.#fromStart = fromStart;
  }

  /**
   * Call with the samples of each step, [B], and the fingerprints of their pictures, of which equal ones are
   * of equal pictures.
   *
   * @param identities where equal pictures are no negatives
   * @throws NothingToLearnError when no step had anything to compare, and none will have
   */
  see(
    samples: readonly SampleFacts[],
    fingerprints: Float64Array,
    identities: Identities | undefined,
  ): void {
    this.#steps++;
    this.#samples += samples.length;
    this.#first ??= { name: samples[0]!.name, fingerprint: fingerprints[0]! };
    const { fingerprint } = this.#first;
    this.#allSame &&= fingerprints.every((other) => other === fingerprint);
    this.#count(samples, fingerprints);
    if (identities && comparesNothing(identities)) this.#idle();
    const hopeless = this.#samples >= HOPELESS_SAMPLES && this.#steps >= HOPELESS_STEPS;
    const seenAll = this.#fromStart && samples.some(({ epoch }) => epoch > 0);
    if (this.#allSame && (hopeless || seenAll)) throw this.#same();
    if (this.#idleSteps === this.#steps && hopeless) throw this.#nothing();
  }

  /** What to tell since this was last asked. */
  news(): string[] {
    const news = this.#news;
    this.#news = [];
    return news;
  }

  /**
   * Call when all steps are taken; returns what is left to tell.
   *
   * @throws NothingToLearnError when all pictures were the same
   */
  end(): string[] {
    if (this.#allSame && this.#fromStart && this.#samples >= LEAST_SAMPLES) throw this.#same();
    this.#tell(true);
    if (this.#idleSteps > 1) {
      this.#news.push(
        `${this.#idleSteps} of ${counted(this.#steps, "step")} had nothing to compare.`,
      );
    }
    return this.news();
  }

  #idle(): void {
    if (this.#idleSteps++ > 0) return;
    this.#news.push(
      "A step had nothing to compare and learns nothing: in its batch, all pairs have the same picture or " +
        "the same caption.",
    );
  }

  #count(samples: readonly SampleFacts[], fingerprints: Float64Array): void {
    if (this.#groups === undefined) return;
    const before = this.#pictures;
    for (const [i, { name, epoch }] of samples.entries()) {
      if (epoch > 0) continue;
      this.#pictures++;
      const group = this.#groups.get(fingerprints[i]!);
      if (group) group.count++;
      else this.#groups.set(fingerprints[i]!, { name, count: 1 });
    }
    const isWhole = this.#pictures === before || this.#pictures >= MOST_PICTURES;
    if (isWhole) this.#tell(true);
    else if (before < EARLY_PICTURES && this.#pictures >= EARLY_PICTURES) this.#tell(false);
  }

  /** Tells of pictures that are a large part of all. */
  #tell(isWhole: boolean): void {
    const groups = [...(this.#groups?.values() ?? [])]
      .filter(({ count }) => isLargePart(count, this.#pictures))
      .sort((a, b) => b.count - a.count);
    if (isWhole) this.#groups = undefined;
    if (groups.length === 0) return;
    const all = this.#pictures.toLocaleString("en");
    const [first, ...others] = groups.map(
      ({ name, count }) => [count.toLocaleString("en"), name] as const,
    );
    const parts = [
      `${first![0]} of the ${all} read are the same picture, ${first![1]}`,
      ...others.slice(0, 2).map(([count, name]) => `${count} are ${name}`),
      ...(others.length > 2 ? [`and so on for ${others.length - 2} more`] : []),
    ];
    this.#news.push(
      `Many pictures are equal: ${parts.join("; ")}. Placeholders of pictures that could not be ` +
        "downloaded look so: leave them out.",
    );
  }

  #same(): NothingToLearnError {
    const pictures = counted(this.#pictures || this.#samples, "picture");
    return new NothingToLearnError(
      `All ${pictures} read are the same picture, ${this.#first!.name}: there is ` +
        "nothing to tell their captions apart by. It may be a placeholder of pictures that could not be " +
        "downloaded: download them again, and train with --overwrite.",
    );
  }

  #nothing(): NothingToLearnError {
    return new NothingToLearnError(
      `None of ${this.#steps} steps had anything to compare: in each batch, all pairs have the same ` +
        "picture or the same caption. Take larger batches (training.batchSize), or a collection whose " +
        "captions tell pictures apart, and train with --overwrite.",
    );
  }
}

/** A fifth of a few, or a hundredth of many: several captions of a picture don't come to that. */
function isLargePart(count: number, all: number): boolean {
  return (count >= 3 && count * 5 >= all) || (count >= 20 && count * 100 >= all);
}
