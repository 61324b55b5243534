import { counted } from "../util/counted.js";
import { kindOfFile } from "./picture-kinds.js";

/**
 * Folders and files that systems and devices leave among people's pictures: trash, thumbnails, indexes,
 * snapshots. Their pictures are copies, or were thrown away. Names that begin with a dot are hidden, and
 * all of them are passed over.
 */
const SYSTEM_NAMES = new Set(
  [
    // Synology and QNAP.
    "@eaDir",
    "@tmp",
    "@SynoEAStream",
    "@SynoResource",
    "@Recycle",
    "@Recently-Snapshot",
    "@sharebin",
    "@__thumb",
    "#recycle",
    "#snapshot",
    // Windows.
    "$RECYCLE.BIN",
    "RECYCLER",
    "RECYCLED",
    "System Volume Information",
    "found.000",
    "Thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    // macOS.
    "__MACOSX",
    "Network Trash Folder",
    "Temporary Items",
    "Icon\r",
    // Linux and other file servers.
    "lost+found",
    "_gsdata_",
  ].map((name) => name.toLowerCase()),
);

/** Whether a name, of a folder or a file, is hidden or a system's own. */
export function isLitter(name: string): boolean {
  return name.startsWith(".") || SYSTEM_NAMES.has(name.toLowerCase());
}

/** The first part of a path that is litter, if one is. Parts are separated by slashes. */
export function litterIn(path: string): string | undefined {
  return path.split("/").find((part) => part !== "." && part !== ".." && isLitter(part));
}

/** The most places that are named. */
const NAMED = 5;

/** Counts the pictures that are passed over because their place is hidden or a system's. */
export class LitterCount {
  #folders = 0;
  #hidden = 0;
  readonly #folderNames = new Set<string>();
  readonly #hiddenNames = new Set<string>();

  /** @param place the part of their path that is litter: a folder's name, or their own */
  add(place: string, pictures: number, isFolder: boolean): void {
    if (pictures === 0) return;
    if (isFolder) this.#folders += pictures;
    else this.#hidden += pictures;
    (isFolder ? this.#folderNames : this.#hiddenNames).add(place);
  }

  /** Counts what lies at a path of an archive, if it is a picture and litter. */
  addPath(path: string): void {
    const place = kindOfFile(path) === "picture" ? litterIn(path) : undefined;
    if (place !== undefined) this.add(place, 1, !path.endsWith(`/${place}`) && path !== place);
  }

  /** What was counted, such as "9 pictures of system folders: @eaDir, .Trashes"; undefined for nothing. */
  get summary(): string | undefined {
    const parts = [
      part(this.#folders, "of system folders", this.#folderNames),
      part(this.#hidden, "of hidden names", this.#hiddenNames),
    ].filter((text) => text !== undefined);
    return parts.length === 0 ? undefined : parts.join("; ");
  }
}

function part(count: number, what: string, names: ReadonlySet<string>): string | undefined {
  if (count === 0) return undefined;
  const more = names.size > NAMED ? ", ..." : "";
  return `${counted(count, "picture")} ${what}: ${[...names].slice(0, NAMED).join(", ")}${more}`;
}
