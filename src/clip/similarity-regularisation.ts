import {
  add,
  div,
  matmul,
  matrixTranspose,
  mul,
  reshape,
  sub,
  sum,
  type Tensor,
  where,
} from "../graph/index.js";
import { identityMask } from "./contrastive.js";
import { type Latents, whole } from "./similarity.js";

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

/** Similarities of rows [B, L] with one another, [B, B]. */
function amongThemselves(latents: Tensor): Tensor {
  return matmul(latents, matrixTranspose(latents));
}
