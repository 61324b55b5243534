import {
  constant,
  equal,
  expandLike,
  gatherElements,
  lessOrEqual,
  max,
  reshape,
  slice,
  sub,
  type Tensor,
  where,
} from "../graph/index.js";

/**
 * Where texts int32 [B, T] end: int32 [B, 1], the place of each one's first end token. A text without one
 * ends at its last place.
 */
export function eosPositions(text: Tensor, eosId: number): Tensor {
  const last = (text.shape[1] as number) - 1;
  // Counted from the back, the first end token is the maximum.
  const fromBack = sub(last, places(text));
  return sub(last, max(where(equal(text, eosId), fromBack, 0), 1, true));
}

/** The order of tokens, int32 [B, T], that puts the end tokens at `eos` [B, 1] first. */
export function eosFirst(text: Tensor, eos: Tensor): Tensor {
  const at = places(text);
  return where(equal(at, 0), eos, where(lessOrEqual(at, eos), sub(at, 1), at));
}

/** 0 to T - 1 as int32 [1, T]. */
function places(text: Tensor): Tensor {
  const length = text.shape[1] as number;
  return constant(
    Array.from({ length }, (_, t) => t),
    [1, length],
    "int32",
  );
}

/** Tokens [B, T, D] at the places [B, K] of their row: [B, K, D]. */
export function gatherTokens(tokens: Tensor, at: Tensor): Tensor {
  const [batch, count] = at.shape as [number | string, number];
  const like = slice(tokens, 1, 0, count);
  return gatherElements(tokens, expandLike(reshape(at, [batch, count, 1]), like), 1);
}
