/** A picture: the path of a file, or the bytes of one. */
export type PictureSource = string | Uint8Array;

/** One picture that could not be read, by its place in the list given. */
export interface FailedPicture {
  readonly index: number;
  readonly reason: string;
}

/** Turns texts and pictures into vectors of one space; what evaluation and search need of a model. */
export interface Embedder {
  /** Width L of an embedding. */
  readonly width: number;
  /** [N, L], row-major, each row of length 1. */
  embedTexts(texts: readonly string[]): Promise<Float32Array>;
  /** [N, L], row-major, each row of length 1; the rows of failed pictures are zero. */
  embedPictures(
    pictures: readonly PictureSource[],
  ): Promise<{ embeddings: Float32Array; failed: readonly FailedPicture[] }>;
}
