import {
  add,
  div,
  matrixTranspose,
  mean,
  neg,
  softplus,
  sum,
  type Tensor,
  where,
} from "../graph/index.js";
import { identityMask } from "./contrastive.js";
import type { Similarities } from "./similarity.js";

/**
 * The sigmoid loss (SigLIP, Zhai et al., 2023): every pair of a text and an image is told by itself to
 * match or not, without looking at the others. A sum over the candidates, a mean over the pairs, and over
 * both directions.
 *
 * @param bias scalar added to similarities; at -log(B - 1), the odds of a match among B candidates, the
 *   many pairs that don't match weigh no more at the start than those that do.
 * @param excluded bool [B, B] (text, image): pairs that are neither.
 */
export function sigmoidLoss(
  { textToImage, imageToText }: Similarities,
  bias: Tensor,
  excluded?: Tensor,
): Tensor {
  const direction = (similarities: Tensor, excluded: Tensor | undefined) =>
    mean(sum(pairLosses(similarities, bias, identityMask(similarities), excluded), 1), 0);
  return div(
    add(
      direction(textToImage, excluded),
      direction(imageToText, excluded && matrixTranspose(excluded)),
    ),
    2,
  );
}

/** What each pair adds to the sigmoid loss; `matching` and `excluded` are of the shape of `similarities`. */
export function pairLosses(
  similarities: Tensor,
  bias: Tensor,
  matching: Tensor | undefined,
  excluded: Tensor | undefined,
): Tensor {
  const logits = add(similarities, bias);
  const losses = softplus(matching ? where(matching, neg(logits), logits) : logits);
  return excluded ? where(excluded, 0, losses) : losses;
}
