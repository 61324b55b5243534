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

/** A file or row that was left out, and why. */
export interface Skipped {
  /** Path of the file, with a line number for a row of a list. */
  readonly where: string;
  readonly reason: string;
}
