import {
  add,
  constant,
  div,
  formatShape,
  less,
  logSumExp,
  matmul,
  matrixTranspose,
  mean,
  mul,
  or,
  sub,
  sum,
  type Tensor,
  where,
} from "../graph/index.js";

/** What the contrastive loss compares. */
export interface ContrastiveInputs {
  /** [B, L], rows of length 1. */
  readonly text: Tensor;
  /** [B, L], rows of length 1; row i belongs to text i. */
  readonly image: Tensor;
  /** Scalar that multiplies cosine similarities. */
  readonly scale: Tensor;
  /** bool [B, B] (text, image): pairs that are no negatives, for example of equal captions. */
  readonly excluded?: Tensor | undefined;
  /** Leave matching pairs out of the denominators (DCL, Yeh et al., 2021); default false. */
  readonly decoupled?: boolean;
}

/** Takes a similarity out of a log-sum-exp; finite, so that a row without negatives stays finite. */
const EXCLUDED = -1e30;

/**
 * InfoNCE in both directions (Radford et al., 2021): the mean over pairs of
 * log(sum of exp over the candidates) - the pair's own similarity, averaged over the two directions.
 */
export function contrastiveLoss(inputs: ContrastiveInputs): Tensor {
  const { text, image, scale, excluded, decoupled = false } = inputs;
  const batch = text.shape[0];
  if (typeof batch !== "number" || image.shape[0] !== batch) {
    throw new Error(
      `the contrastive loss needs as many texts as images, and a fixed number: ` +
        `texts are ${formatShape(text.shape)}, images ${formatShape(image.shape)}`,
    );
  }
  const logits = mul(matmul(text, matrixTranspose(image)), scale); // [B text, B image]
  const own = mul(sum(mul(text, image), -1), scale); // [B]
  const identity = constant(
    Array.from({ length: batch * batch }, (_, i) => Number(i % (batch + 1) === 0)),
    [batch, batch],
    "bool",
  );
  let hidden = decoupled ? identity : undefined;
  if (excluded) hidden = hidden ? or(hidden, excluded) : excluded;
  const candidates = hidden ? where(hidden, EXCLUDED, logits) : logits;
  const denominator = (axis: number) => {
    const sum = logSumExp(candidates, axis);
    // Where nothing is left to tell a pair from, there is nothing to learn: the difference is zero.
    return hidden ? where(less(sum, EXCLUDED / 2), own, sum) : sum;
  };
  return mean(sub(div(add(denominator(1), denominator(0)), 2), own), 0);
}
