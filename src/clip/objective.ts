import { add, div, mul, type Tensor } from "../graph/index.js";
import { type ContrastiveOptions, contrastiveLoss } from "./contrastive.js";
import { retrievedSimilarities } from "./hopfield.js";
import type { ResolvedClipOptions } from "./options.js";
import { sigmoidLoss } from "./sigmoid.js";
import {
  globalSimilarities,
  type Latents,
  type Similarities,
  tokenwiseSimilarities,
} from "./similarity.js";
import { similarityRegularisation } from "./similarity-regularisation.js";

/** The latents of all views of a batch: the first of each is the plain one, the others are augmented. */
export interface Views {
  readonly texts: readonly Pick<Latents, "text" | "textExtra" | "textMask">[];
  readonly images: readonly Pick<Latents, "image" | "imageExtra">[];
}

/** The learnt scalars of an objective. */
export interface ObjectiveScalars {
  /** Multiplies cosine similarities. */
  readonly scale: Tensor;
  /** Is added to similarities by the sigmoid loss alone. */
  readonly bias: Tensor | undefined;
}

/** The parts of a loss, each a scalar before it is weighed. */
export interface ObjectiveTerms {
  readonly contrastive: Tensor;
  /** The mean over all pairs of views but the first. */
  readonly multiview?: Tensor;
  readonly similarityRegularisation?: Tensor;
}

/**
 * What latents are asked to be, from the latents alone: it needs the whole batch at once, and no encoder.
 *
 * @param excluded bool [B, B] (text, image): pairs that are no negatives.
 */
export function objective(
  options: ResolvedClipOptions,
  { texts, images }: Views,
  { scale, bias }: ObjectiveScalars,
  excluded?: Tensor,
): ObjectiveTerms {
  const compat = options.compat === "x-clip";
  const pairs = texts.flatMap((text) => images.map((image): Latents => ({ ...text, ...image })));
  const similarities = (latents: Latents): Similarities => {
    const { textMask } = latents;
    if (textMask) return tokenwiseSimilarities({ ...latents, textMask }, scale, compat);
    return options.hopfieldRetrieval
      ? retrievedSimilarities(latents, scale, options.hopfieldSharpness)
      : globalSimilarities(latents, scale);
  };
  const [contrastive, ...others] = pairs.map((latents) => {
    const compared = similarities(latents);
    if (bias) return sigmoidLoss(compared, bias, excluded);
    return contrastiveLoss(compared, { ...contrastiveOptions(options), excluded });
  });
  return {
    contrastive: contrastive!,
    ...(others.length > 0 && { multiview: average(others) }),
    ...(options.simRegLossWeight > 0 && {
      similarityRegularisation: average(pairs.map(similarityRegularisation)),
    }),
  };
}

/** How a model's options decide the contrastive loss. */
export function contrastiveOptions(
  options: ResolvedClipOptions,
): Pick<ContrastiveOptions, "decoupled" | "floored"> {
  return {
    decoupled: options.decoupledContrastiveLearning || options.hopfieldRetrieval,
    floored: options.compat === "x-clip",
  };
}

/** Adds terms up, each times its weight. */
export function weighted(terms: readonly (readonly [weight: number, term: Tensor])[]): Tensor {
  return terms
    .map(([weight, term]) => (weight === 1 ? term : mul(term, weight)))
    .reduce((a, b) => add(a, b));
}

function average(terms: readonly Tensor[]): Tensor {
  return div(
    terms.reduce((a, b) => add(a, b)),
    terms.length,
  );
}
