import { type RetrievalResult, retrieval } from "../src/eval/index.js";
import type { Embedder } from "../src/model/index.js";
import type { readUnseenStyle } from "./emoji.js";

export type UnseenStyle = Awaited<ReturnType<typeof readUnseenStyle>>;

/** Names against drawings in a style that was not trained on, one to one; with the drawings' embeddings. */
export async function measureUnseenStyle(
  model: Embedder,
  { pictures, names }: UnseenStyle,
): Promise<RetrievalResult & { readonly embeddings: Float32Array }> {
  const { embeddings } = await model.embedPictures(pictures);
  const result = retrieval({
    texts: await model.embedTexts(names),
    pictures: embeddings,
    width: model.width,
    positives: (name) => [name],
  });
  return { ...result, embeddings };
}
