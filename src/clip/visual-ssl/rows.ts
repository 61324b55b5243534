import { formatShape, reshape, slice, type Tensor } from "../../graph/index.js";

/** What of a representation, [B, D] or [B, T, D], is projected: a row [B, D] a picture, the first token. */
export function pictureRows(representation: Tensor): Tensor {
  const { rank, shape } = checked(representation);
  if (rank === 2) return representation;
  return reshape(slice(representation, 1, 0, 1), [shape[0]!, shape[2]!]);
}

/** What of a representation x-clip projects: all tokens, [B T, D]. */
export function tokenRows(representation: Tensor): Tensor {
  return reshape(representation, [-1, checked(representation).shape.at(-1)!]);
}

function checked(representation: Tensor): Tensor {
  if (representation.rank === 2 || representation.rank === 3) return representation;
  throw new Error(
    `what a picture is encoded as must be [B, D] or [B, T, D], is ${formatShape(representation.shape)}`,
  );
}
