import {
  add,
  div,
  l2norm,
  maskedMean,
  matmul,
  matrixTranspose,
  mean,
  mul,
  reshape,
  sub,
  sum,
  type Tensor,
  where,
} from "../graph/index.js";
import { identityMask } from "./contrastive.js";
import type { Latents } from "./similarity.js";

/**
 * Asks that two texts of a batch be as similar to each other as their images are (similarity
 * regularisation, Yang et al., 2023, arXiv 2309.08773): the mean squared difference of the two
 * similarities, over all pairs of different samples. With extra projections, the mean of both
 * projections' losses. Token by token, a text or an image is the mean of its tokens.
 */
export function similarityRegularisation(latents: Latents): Tensor {
  const { text, image, textExtra, imageExtra, textMask } = latents;
  const loss = (text: Tensor, image: Tensor) => {
    const difference = sub(amongThemselves(whole(text, textMask)), amongThemselves(whole(image)));
    const batch = difference.shape[0] as number;
    const squares = where(identityMask(difference), 0, mul(difference, difference));
    return div(sum(reshape(squares, [-1]), 0), Math.max(1, batch * (batch - 1)));
  };
  const first = loss(text, image);
  return textExtra && imageExtra ? div(add(first, loss(textExtra, imageExtra)), 2) : first;
}

/** [B, L] as it is; [B, T, L] as the direction of its tokens' mean, [B, L]. */
function whole(latents: Tensor, mask?: Tensor): Tensor {
  if (latents.rank === 2) return latents;
  const average = mask
    ? maskedMean(latents, reshape(mask, [...mask.shape, 1]), 1)
    : mean(latents, 1);
  return l2norm(average);
}

/** Similarities of rows [B, L] with one another, [B, B]. */
function amongThemselves(latents: Tensor): Tensor {
  return matmul(latents, matrixTranspose(latents));
}
