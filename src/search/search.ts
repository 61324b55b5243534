import type { Embedder, PictureSource } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import type { Match, PictureIndex, SearchOptions } from "./picture-index.js";

/** The pictures that `text` describes best, best first. */
export async function searchText(
  index: PictureIndex,
  embedder: Embedder,
  text: string,
  options: SearchOptions = {},
): Promise<Match[]> {
  return index.search(await embedder.embedTexts([text]), options);
}

/**
 * The pictures most like `picture`, best first.
 *
 * @throws ClipsmithError when the picture cannot be read.
 */
export async function searchPicture(
  index: PictureIndex,
  embedder: Embedder,
  picture: PictureSource,
  options: SearchOptions = {},
): Promise<Match[]> {
  const { embeddings, failed } = await embedder.embedPictures([picture]);
  if (failed.length > 0) {
    const name = typeof picture === "string" ? ` ${picture}` : "";
    throw new ClipsmithError(`The picture${name} cannot be read: ${failed[0]!.reason}.`);
  }
  return index.search(embeddings, options);
}
