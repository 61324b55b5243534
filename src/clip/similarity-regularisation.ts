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
  const projections = wholeProjections(latents);
  const losses = projections.map((sides) => {
    const batch = sides.text.shape[0] as number;
    const squares = squaredDifferences(sides, sides, true);
    return div(sum(reshape(squares, [-1]), 0), differentPairs(batch));
  });
  return losses.length > 1 ? div(losses.reduce(add), losses.length) : losses[0]!;
}

/** How many pairs of different samples a batch has; 1 where it has none. */
export function differentPairs(batch: number): number {
  return Math.max(1, batch * (batch - 1));
}

/** A vector [B, L] for each text and each image, in one projection. */
export interface WholeLatents {
  readonly text: Tensor;
  readonly image: Tensor;
}

/** Whole texts and images in each of the projections that are compared. */
export function wholeProjections(latents: Latents): WholeLatents[] {
  const { text, image, textExtra, imageExtra, textMask } = latents;
  const sides = (text: Tensor, image: Tensor) => ({
    text: whole(text, textMask),
    image: whole(image),
  });
  const first = sides(text, image);
  return textExtra && imageExtra ? [first, sides(textExtra, imageExtra)] : [first];
}

/**
 * [N, M]: how the similarity of two texts differs from that of their images, squared, for samples `a` with
 * samples `b`.
 *
 * @param same whether these are the same samples, which are not compared with themselves.
 */
export function squaredDifferences(a: WholeLatents, b: WholeLatents, same: boolean): Tensor {
  const difference = sub(
    matmul(a.text, matrixTranspose(b.text)),
    matmul(a.image, matrixTranspose(b.image)),
  );
  const squares = mul(difference, difference);
  return same ? where(identityMask(difference), 0, squares) : squares;
}
