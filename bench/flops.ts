import type { CLIP } from "../src/clip/index.js";

/**
 * Floating-point operations of the matrix products that one training step needs: 2 m n k each, and
 * twice the forward's for the backward. Look-ups, norms, softmax, GELU and AdamW count nothing.
 *
 * What is not computed is not counted: the text encoder's last layer makes queries and feed-forward
 * for the CLS token alone, and dropped patches are never embedded.
 */
export function stepFlops({ options: o, keptPatches }: CLIP, batch: number): number {
  const textTokens = o.textSeqLen + 1;
  const text =
    transformer(batch, textTokens, 1, o.dimText, o.textEncDepth, o.textHeads * o.textDimHead) +
    product(batch, o.dimLatent, o.dimText);
  const image =
    transformer(
      batch,
      keptPatches,
      keptPatches,
      o.dimImage,
      o.visualEncDepth,
      o.visualHeads * o.visualDimHead,
    ) +
    product(batch, o.dimImage, o.dimImage) +
    product(batch, o.dimLatent, o.dimImage);
  const patches = product(batch * keptPatches, o.dimImage, o.channels * o.visualPatchSize ** 2);
  const similarities = product(batch, batch, o.dimLatent);
  // Pixels need no gradient, so the patches' backward is one product and not two.
  return 3 * (text + image + similarities) + 2 * patches;
}

/** Forward of a stack whose last layer gives `wanted` of its tokens. */
function transformer(
  batch: number,
  tokens: number,
  wanted: number,
  width: number,
  depth: number,
  inner: number,
): number {
  const layer = (results: number) =>
    product(batch * results, inner, width) + // queries
    product(batch * tokens, 2 * inner, width) + // keys and values
    2 * product(batch * results, tokens, inner) + // scores and mixing, all heads
    product(batch * results, width, inner) +
    product(batch * results, 8 * width, width) + // value and gate
    product(batch * results, width, 4 * width);
  return (depth - 1) * layer(tokens) + layer(wanted);
}

function product(m: number, n: number, k: number): number {
  return 2 * m * n * k;
}
