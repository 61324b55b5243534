import {
  abs,
  add,
  constant,
  div,
  exp,
  formatShape,
  less,
  log,
  logSumExp,
  matrixTranspose,
  maximum,
  mean,
  neg,
  or,
  sub,
  sum,
  type Tensor,
  where,
} from "../graph/index.js";
import type { Similarities } from "./similarity.js";

/** What decides the contrastive loss beside the similarities. */
export interface ContrastiveOptions {
  /** bool [B, B] (text, image): pairs that are no negatives, for example of equal captions. */
  readonly excluded?: Tensor | undefined;
  /** Leave matching pairs out of the denominators (DCL, Yeh et al., 2021); default false. */
  readonly decoupled?: boolean;
  /**
   * x-clip's `log(x + 1e-20)`: similarities and denominators whose exponential is less count as 1e-20.
   * Default false.
   */
  readonly floored?: boolean;
}

/** Takes a similarity out of a log-sum-exp; finite, so that a row without negatives stays finite. */
const EXCLUDED = -1e30;

/** The logarithm of what x-clip adds to every exponential. */
const FLOOR = Math.log(1e-20);

/**
 * InfoNCE in both directions (Radford et al., 2021): the mean over pairs of
 * log(sum of exp over the candidates) - the pair's own similarity, averaged over the two directions.
 */
export function contrastiveLoss(
  { textToImage, imageToText }: Similarities,
  { excluded, decoupled = false, floored = false }: ContrastiveOptions = {},
): Tensor {
  const direction = (similarities: Tensor, excluded: Tensor | undefined) => {
    const matching = identityMask(similarities);
    const shown = candidateSimilarities(similarities, decoupled ? matching : undefined, excluded);
    const hides = shown !== similarities;
    return choiceLoss(
      { candidates: logSumExp(shown, 1), own: matchingSimilarities(similarities, matching) },
      { floored, hides },
    );
  };
  return div(
    add(
      direction(textToImage, excluded),
      direction(imageToText, excluded && matrixTranspose(excluded)),
    ),
    2,
  );
}

/** Similarities in which those of pairs that are no candidates count for nothing. */
export function candidateSimilarities(
  similarities: Tensor,
  ...hidden: readonly (Tensor | undefined)[]
): Tensor {
  const masks = hidden.filter((mask) => mask !== undefined);
  return masks.length > 0 ? where(masks.reduce(or), EXCLUDED, similarities) : similarities;
}

/** [B]: the similarities of pairs that match. */
export function matchingSimilarities(similarities: Tensor, matching: Tensor): Tensor {
  return sum(where(matching, similarities, 0), 1);
}

/** What the loss of one direction needs to know of each pair, [B] both. */
export interface Choices {
  /** The log-sum-exp over its candidates. */
  readonly candidates: Tensor;
  /** Its own similarity. */
  readonly own: Tensor;
}

/**
 * The loss of one direction, a scalar.
 *
 * @param options.hides whether pairs may have no candidates.
 */
export function choiceLoss(
  { candidates, own }: Choices,
  { floored = false, hides }: Pick<ContrastiveOptions, "floored"> & { readonly hides: boolean },
): Tensor {
  if (floored) return mean(sub(addExp(candidates, FLOOR), addExp(own, FLOOR)), 0);
  // Where nothing is left to tell a pair from, there is nothing to learn: the difference is zero.
  const sums = hides ? where(less(candidates, EXCLUDED / 2), own, candidates) : candidates;
  return mean(sub(sums, own), 0);
}

/** log(exp x + exp c), without overflow. */
function addExp(x: Tensor, c: number): Tensor {
  const away = neg(abs(sub(x, c)));
  return add(maximum(x, c), log(add(exp(away), 1)));
}

/** bool [B, B]: the matching pairs. Throws unless the matrix is square and of a fixed size. */
export function identityMask({ shape }: Tensor): Tensor {
  const [batch, other] = shape;
  if (typeof batch !== "number" || other !== batch) {
    throw new Error(
      `a contrastive loss needs as many texts as images, and a fixed number: ` +
        `similarities are ${formatShape(shape)}`,
    );
  }
  return constant(
    Array.from({ length: batch * batch }, (_, i) => Number(i % (batch + 1) === 0)),
    [batch, batch],
    "bool",
  );
}
