import {
  l2norm,
  less,
  maskedFill,
  maskedMean,
  matmul,
  matrixTranspose,
  max,
  mean,
  mul,
  not,
  reshape,
  type Tensor,
  where,
} from "../graph/index.js";

/** One view of a batch in the shared space. */
export interface Latents {
  /** [B, L], or [B, T, L] token by token; the last axis has length 1. */
  readonly text: Tensor;
  /** [B, L], or [B, P, L] token by token; to a loss, row i belongs to text i. */
  readonly image: Tensor;
  /** What is compared in the direction from image to text instead (CLOOB); default `text`. */
  readonly textExtra?: Tensor | undefined;
  /** What is compared in the direction from image to text instead (CLOOB); default `image`. */
  readonly imageExtra?: Tensor | undefined;
  /** bool [B, T] of the tokens that count, token by token. */
  readonly textMask?: Tensor | undefined;
}

/** Scaled similarities of all texts with all images; losses need as many of the one as of the other. */
export interface Similarities {
  /** [B, B] (text, image): each row is one text's choice among images. */
  readonly textToImage: Tensor;
  /** [B, B] (image, text): each row is one image's choice among texts. */
  readonly imageToText: Tensor;
}

/** Cosine similarities of whole texts with whole images, times `scale`. */
export function globalSimilarities(latents: Latents, scale: Tensor): Similarities {
  const { text, image, textExtra = text, imageExtra = image } = latents;
  const textToImage = mul(matmul(text, matrixTranspose(image)), scale);
  const imageToText =
    textExtra === text && imageExtra === image
      ? matrixTranspose(textToImage)
      : mul(matmul(imageExtra, matrixTranspose(textExtra)), scale);
  return { textToImage, imageToText };
}

/** Instead of the similarity with padding; finite, and far below every similarity. */
const HIDDEN = -1e30;

/**
 * Token-wise similarities (FILIP, Yao et al., 2021), times `scale`: each token of a text is compared with
 * the most similar of an image, and the mean over the text's tokens is taken; and the other way round. A
 * text without tokens has the similarity 0.
 *
 * @param compat as x-clip computes them: image to text is not transposed, so that both directions choose
 *   among images; a text without tokens is as far from every image as numbers go.
 */
export function tokenwiseSimilarities(
  latents: Latents & { readonly textMask: Tensor },
  scale: Tensor,
  compat = false,
): Similarities {
  const { text, image, textExtra = text, imageExtra = image, textMask } = latents;
  const [texts, tokens] = textMask.shape;
  const compared = (text: Tensor, image: Tensor) => {
    const [images, patches, width] = image.shape as [number, number, number];
    const flat = (x: Tensor) => reshape(x, [-1, width]);
    const similarities = matmul(flat(text), matrixTranspose(flat(image)));
    return mul(reshape(similarities, [texts!, tokens!, images, patches]), scale);
  };
  const forward = compared(text, image);
  const mask = reshape(textMask, [texts!, tokens!, 1]);
  const textToImage = maskedMean(max(forward, -1), mask, 1); // [text, image]

  const backward =
    textExtra === text && imageExtra === image ? forward : compared(textExtra, imageExtra);
  const padding = not(reshape(textMask, [texts!, tokens!, 1, 1]));
  const nearest = mean(max(maskedFill(backward, padding, HIDDEN), 1), -1); // [text, image]
  if (compat) return { textToImage, imageToText: nearest };
  const known = where(less(nearest, HIDDEN / 2), 0, nearest);
  return { textToImage, imageToText: matrixTranspose(known) };
}

/**
 * Latents [B, L] as they are; token by token, [B, T, L], the direction of the mean over those whose mask
 * [B, T] holds: one vector [B, L] of length 1.
 */
export function whole(latents: Tensor, mask?: Tensor): Tensor {
  if (latents.rank === 2) return latents;
  return l2norm(
    mask ? maskedMean(latents, reshape(mask, [...mask.shape, 1]), 1) : mean(latents, 1),
  );
}
