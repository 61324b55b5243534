import {
  add,
  concat,
  constant,
  div,
  equal,
  formatShape,
  l2norm,
  logSumExp,
  matmul,
  matrixTranspose,
  mean,
  mul,
  sub,
  sum,
  type Tensor,
  where,
} from "../../graph/index.js";

/** Takes a row's similarity to itself out of a log-sum-exp; other rows always remain. */
const EXCLUDED = -1e30;

/**
 * NT-Xent (SimCLR, Chen et al., 2020) of rows [N, D], where `a`'s and `b`'s rows i are two views of one
 * picture: the mean over all 2 N rows of log(sum of exp over the other 2 N - 1) - the similarity to the
 * row's partner. Similarities are dot products over the temperature; rows of length 1 make them cosines.
 */
export function ntXent(a: Tensor, b: Tensor, temperature: number): Tensor {
  const count = a.shape[0];
  if (typeof count !== "number" || b.shape[0] !== count) {
    throw new Error(
      `NT-Xent needs as many rows of either view, and a fixed number: got ${formatShape(a.shape)} ` +
        `and ${formatShape(b.shape)}`,
    );
  }
  const rows = concat([a, b], 0);
  const logits = div(matmul(rows, matrixTranspose(rows)), temperature); // [2 N, 2 N]
  const places = Array.from({ length: 2 * count }, (_, i) => i);
  const self = equal(
    constant(places, [2 * count, 1], "int32"),
    constant(places, [1, 2 * count], "int32"),
  );
  const denominators = logSumExp(where(self, EXCLUDED, logits), 1);
  const partners = div(sum(mul(a, b), -1), temperature); // the same for both directions
  return sub(mean(denominators, 0), mean(partners, 0));
}

/**
 * The mean over rows [N, D] of 2 - 2 cos: the squared distance of predictions and targets brought to
 * length 1, and twice SimSiam's negative cosine (Chen and He, 2020) but for a constant.
 */
export function cosineDistance(predictions: Tensor, targets: Tensor): Tensor {
  const cosines = sum(mul(l2norm(predictions), l2norm(targets)), -1);
  return mean(add(mul(cosines, -2), 2), 0);
}
