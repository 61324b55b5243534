import { l2norm, matmul, matrixTranspose, mul, softmax, type Tensor } from "../graph/index.js";
import type { Latents, Similarities } from "./similarity.js";

/**
 * Similarities of retrieved latents (CLOOB, Fürst et al., 2021), times `scale`. The batch's images are
 * stored in a modern Hopfield network; images and texts both query it, and an image then chooses among
 * the texts by what they retrieved. Texts choose among images by way of the stored texts. What latents of
 * a batch have in common is thereby amplified, and a single feature no longer decides.
 *
 * @param sharpness inverse temperature of the retrieval; the paper's is 8.
 */
export function retrievedSimilarities(
  latents: Latents,
  scale: Tensor,
  sharpness: number,
): Similarities {
  const { text, image, textExtra = text, imageExtra = image } = latents;
  const choice = (memory: Tensor, choosing: Tensor, candidates: Tensor) => {
    const retrieve = (queries: Tensor) => {
      const attention = softmax(recallLogits(queries, memory, sharpness));
      return l2norm(matmul(attention, memory));
    };
    return mul(matmul(retrieve(choosing), matrixTranspose(retrieve(candidates))), scale);
  };
  return {
    textToImage: choice(text, text, image),
    imageToText: choice(imageExtra, imageExtra, textExtra),
  };
}

/** [N, M]: the softmax of a row is what each of a memory [M, L] is to a query of [N, L]. */
export function recallLogits(queries: Tensor, memory: Tensor, sharpness: number): Tensor {
  return mul(matmul(queries, matrixTranspose(memory)), sharpness);
}
