import type { ListColumns } from "./list.js";
import type { LitterCount } from "./litter.js";
import type { PictureFinder } from "./picture-finder.js";
import type { Skipped } from "./sample.js";

/** What has been gathered so far. */
export interface Found {
  /** Captions by the picture's absolute path. */
  readonly captions: Map<string, string[]>;
  /** The pictures that lists name, by where they would be, whose existence is still to be checked. */
  readonly rows: Map<string, ListedPicture>;
  /** The lists that were read. */
  readonly lists: ReadList[];
  /** A reason is a kind, or `kind: detail`; kinds are what {@link noSample} counts. */
  readonly skipped: Skipped[];
  /** How the collection was understood, in sentences. */
  readonly notes: string[];
  /** Tar, Parquet and zip files, by the folders that they lie in. */
  readonly archives: ArchiveFolder[];
  /** Names of files of kinds that cannot be read. */
  readonly unreadable: string[];
  /** Pictures of hidden names and in systems' folders. */
  readonly litter: LitterCount;
  /** Real paths of the folders read, so that links in a circle end. */
  readonly folders: Set<string>;
  /** Whether pictures count without captions. */
  readonly captionless: boolean;
}

/** A picture as a list names it. */
export interface ListedPicture {
  readonly written: string;
  /** `list:line` of the rows that name it. */
  readonly where: string[];
  readonly finder: PictureFinder;
}

/** A list that was read. */
export interface ReadList {
  /** Absolute path. */
  readonly path: string;
  readonly columns: ListColumns;
  readonly finder: PictureFinder;
}

/** A folder with archives directly in it. */
export interface ArchiveFolder {
  /** Absolute path. */
  readonly folder: string;
  /** At least one, sorted. */
  readonly names: readonly string[];
}

/** Gives a picture more captions. */
export function addCaptions(found: Found, picture: string, captions: readonly string[]): void {
  const known = found.captions.get(picture);
  if (known === undefined) found.captions.set(picture, [...captions]);
  else known.push(...captions);
}
