/** One picture with what people wrote about it. */
export interface Sample {
  /** Absolute path of the picture's file. */
  readonly picture: string;
  /**
   * Captions, each with at least one visible character: at least one, unless the collection was read
   * with captions optional.
   */
  readonly captions: readonly string[];
}

/**
 * The last two parts of a sample's name, as in `cats/1.jpg` or `shard-0001.tar/42`. Random numbers about a
 * sample are drawn by it, so that they stay the same when the collection grows, or moves to another disk.
 */
export function shortName(name: string): string {
  return name.split(/[\\/]/).slice(-2).join("/");
}

/** A file or row that was left out, and why. */
export interface Skipped {
  /** Path of the file, with a line number for a row of a list; `shard.tar/key`; the shard's name. */
  readonly where: string;
  /** What is wrong, in words that can be counted, and often more about it: `kind: detail`. */
  readonly reason: string;
  /** Was not meant to be used, such as thumbnails of a system: no part of the rate of what is skipped. */
  readonly aside?: true;
  /** Stands for all that would have come after it in its shard. */
  readonly rest?: true;
}
