import type { Embedder, PictureSource } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import type { Match, PictureIndex, SearchOptions } from "./picture-index.js";
import { searchPresent } from "./present.js";

/** The pictures that `text` describes best, best first. Those whose files are gone are left out. */
export async function searchText(
  index: PictureIndex,
  embedder: Embedder,
  text: string,
  options: SearchOptions = {},
): Promise<readonly Match[]> {
  return (await searchPresent(index, await embedder.embedTexts([text]), options)).matches;
}

/**
 * The pictures most like `picture`, best first. Those whose files are gone are left out.
 *
 * @throws ClipsmithError when the picture cannot be read.
 */
export async function searchPicture(
  index: PictureIndex,
  embedder: Embedder,
  picture: PictureSource,
  options: SearchOptions = {},
): Promise<readonly Match[]> {
  return (await searchPresent(index, await embedPicture(embedder, picture), options)).matches;
}

/**
 * The embedding [L] of a picture to search by.
 *
 * @throws ClipsmithError when the picture cannot be read.
 */
export async function embedPicture(
  embedder: Embedder,
  picture: PictureSource,
): Promise<Float32Array> {
  const { embeddings, failed } = await embedder.embedPictures([picture]);
  if (failed.length > 0) {
    const name = typeof picture === "string" ? ` ${picture}` : "";
    throw new ClipsmithError(`The picture${name} cannot be read: ${failed[0]!.reason}.`);
  }
  return embeddings;
}
