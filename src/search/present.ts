import { stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { Match, PictureIndex, SearchOptions } from "./picture-index.js";

/** What a search found of what is still there. */
export interface Found {
  /** Best first. */
  readonly matches: readonly Match[];
  /** Pictures that would have been among the matches, but whose files are gone. */
  readonly gone: number;
}

/** Most rows of an index that one search looks at, however many pictures are gone. */
const MOST_ROWS = 10_000;

/**
 * The pictures nearest to `vector` [L] whose files are still there, best first: as many as are wanted where
 * the index has so many.
 *
 * @throws ClipsmithError as {@link PictureIndex.search} does
 */
export async function searchPresent(
  index: PictureIndex,
  vector: Float32Array,
  { limit = 20 }: SearchOptions = {},
): Promise<Found> {
  const most = Math.min(index.count, Math.max(limit, MOST_ROWS));
  const present = new Map<number, boolean>();
  for (let rows = limit; ; rows *= 2) {
    const found = await index.search(vector, { limit: Math.min(rows, most) });
    await Promise.all(
      found.map(async ({ id, picture }) => {
        if (!present.has(id)) present.set(id, await isPresent(index, id, picture));
      }),
    );
    const matches = found.filter(({ id }) => present.get(id)).slice(0, limit);
    if (matches.length >= limit || found.length < rows || rows >= most) {
      const last = matches.length < limit ? undefined : matches.at(-1);
      const seen = last === undefined ? found.length : found.indexOf(last) + 1;
      return { matches, gone: seen - matches.length };
    }
  }
}

/**
 * Whether a picture of an index can still be had: its file is there, or it is kept with the index. What came
 * out of an archive or from elsewhere than the disk counts as there.
 */
export async function isPresent(
  index: PictureIndex,
  id: number,
  picture: string,
): Promise<boolean> {
  if (!isAbsolute(picture) || (await hasFile(picture))) return true;
  // A row of a Parquet file is named FILE:ROW.
  const [, file] = /^(.+):\d+$/.exec(picture) ?? [];
  if (file !== undefined && (await hasFile(file))) return true;
  return (await index.shown(id))?.thumbnail !== undefined;
}

/** Where no file is, nothing is; where none can be looked at, or an archive is in the way, there may be one. */
async function hasFile(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT";
  }
}
