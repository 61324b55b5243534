import type { CLIP, ResolvedClipOptions } from "../clip/index.js";
import { ProgramCache, type RuntimeOptions } from "../runtime/index.js";
import { PairObjective } from "./pair-objective.js";
import { type Band, type Samples, TilePass } from "./tile-pass.js";
import { ExcludedPairs } from "./tiles.js";

/** The latents of all views of a batch of B pairs, row-major; the first of each is the plain one. */
export interface BatchLatents {
  /** B */
  readonly batch: number;
  readonly texts: readonly TextLatents[];
  readonly images: readonly ImageLatents[];
}

/** [B, L], or [B, T, L] with a mask [B, T] where texts are compared token by token. */
export interface TextLatents {
  readonly text: Float32Array;
  readonly textExtra?: Float32Array | undefined;
  readonly textMask?: Uint8Array | undefined;
}

/** [B, L], or [B, P, L] where images are compared token by token. */
export interface ImageLatents {
  readonly image: Float32Array;
  readonly imageExtra?: Float32Array | undefined;
}

/** The parts of an objective by name: values of terms before they are weighed, or what each weighs. */
export interface ObjectiveParts {
  readonly contrastive: number;
  readonly multiview?: number | undefined;
  readonly similarityRegularisation?: number | undefined;
}

/** Values of the learnt scalars. */
export interface ScalarValues {
  /** The logarithm of the scale. */
  readonly temperature: number;
  /** The sigmoid loss's. */
  readonly bias?: number | undefined;
}

/** What {@link TiledObjective.run} finds. */
export interface TiledResult {
  readonly terms: ObjectiveParts;
  /** Gradients of the weighed sum of the terms. */
  readonly gradients: {
    /** As the latents; of the own samples alone, where the batch is shared. */
    readonly texts: readonly Omit<TextLatents, "textMask">[];
    readonly images: readonly ImageLatents[];
    readonly temperature: number;
    readonly bias?: number;
  };
}

/** What {@link TiledObjective.open} needs. */
export interface TiledObjectiveOptions {
  readonly clip: Pick<CLIP, "options">;
  /**
   * The largest number of rows and of columns of the similarities in memory at once; token by token, what
   * the similarities of all tokens of a tile take as much memory as. Default 1024.
   */
  readonly tile?: number;
  readonly runtime?: RuntimeOptions;
}

/**
 * The objective of a whole batch from its latents, with gradients, where the similarities of all texts with
 * all images are never in memory at once (as Inf-CL, Cheng et al., 2024): it takes memory for the latents,
 * their gradients, a few numbers a sample and a few tiles. It is `objective`, differentiated.
 */
export class TiledObjective {
  readonly #options: ResolvedClipOptions;
  readonly #tile: number;
  readonly #programs: ProgramCache;

  private constructor({ clip, tile = 1024, runtime }: TiledObjectiveOptions) {
    this.#options = clip.options;
    this.#tile = tile;
    // As many as the shapes of a batch's tiles, of which those at its edges are smaller.
    this.#programs = new ProgramCache(runtime, 256);
  }

  static async open(options: TiledObjectiveOptions): Promise<TiledObjective> {
    return new TiledObjective(options);
  }

  /**
   * @param excluded pairs of a text and an image that are no negatives: text, image, text, image and so on,
   *   in the order of texts.
   * @param weights what each term weighs.
   * @param band the own samples, where ranks share the batch: each computes their similarities alone. All
   *   have the latents of the whole batch; the terms and the scalars' gradients are those of the whole
   *   batch. Default: all samples.
   */
  async run(
    latents: BatchLatents,
    scalars: ScalarValues,
    excluded: Int32Array,
    weights: ObjectiveParts,
    band?: Band,
  ): Promise<TiledResult> {
    const { batch } = latents;
    const tokens = tokensOf(latents, this.#options.dimLatent);
    const size = tokens
      ? Math.max(1, Math.floor(this.#tile / Math.sqrt(tokens.text * tokens.image)))
      : this.#tile;
    const pass = new TilePass(this.#options, this.#programs, { batch, size, band });
    const texts = latents.texts.map((view) => ({
      values: given(view),
      gradients: {
        text: pass.ownZeros(view.text),
        ...(view.textExtra && { textExtra: pass.ownZeros(view.textExtra) }),
      },
    }));
    const images = latents.images.map((view) => ({
      values: given(view),
      gradients: {
        image: pass.ownZeros(view.image),
        ...(view.imageExtra && { imageExtra: pass.ownZeros(view.imageExtra) }),
      },
    }));
    const pairs = texts.flatMap((text) => images.map((image) => [text, image] as const));
    const objective = new PairObjective(pass, {
      tokens,
      temperature: scalars.temperature,
      bias: scalars.bias ?? 0,
      excluded: new ExcludedPairs(excluded),
    });

    const weightOf = (term: "multiview" | "similarityRegularisation", count: number) =>
      (weights[term] ?? 0) / count;
    const losses: number[] = [];
    for (const [i, [text, image]] of pairs.entries()) {
      const weight = i === 0 ? weights.contrastive : weightOf("multiview", pairs.length - 1);
      losses.push(await objective.compare(text, image, weight));
    }
    const regularised: number[] = [];
    if (this.#options.simRegLossWeight > 0) {
      const weight = weightOf("similarityRegularisation", pairs.length);
      for (const [text, image] of pairs) {
        regularised.push(await objective.regularise(text, image, weight));
      }
    }
    const { temperature, bias } = await objective.scalarGradients();
    const [contrastive, ...others] = losses;
    return {
      terms: {
        contrastive: contrastive!,
        ...(others.length > 0 && { multiview: average(others) }),
        ...(regularised.length > 0 && { similarityRegularisation: average(regularised) }),
      },
      gradients: {
        texts: texts.map(({ gradients }) => gradients),
        images: images.map(({ gradients }) => gradients),
        temperature,
        ...(this.#options.sigmoidLoss && { bias }),
      },
    };
  }

  async release(): Promise<void> {
    await this.#programs.release();
  }
}

/** Those that there are. */
function given(arrays: TextLatents | ImageLatents): Samples {
  return Object.fromEntries(Object.entries(arrays).filter(([, values]) => values !== undefined));
}

/** Tokens of a text and of an image, where they are compared token by token. */
function tokensOf({ batch, texts, images }: BatchLatents, dimLatent: number) {
  if (!texts[0]?.textMask) return undefined;
  return {
    text: texts[0].textMask.length / batch,
    image: images[0]!.image.length / (batch * dimLatent),
  };
}

function average(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0) / numbers.length;
}
