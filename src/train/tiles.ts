/** Samples of a batch from `start` up to, without, `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Where a tile of a B x B matrix lies, and what of it is wanted. */
export interface Place {
  readonly rows: Range;
  readonly columns: Range;
  /** Whether its rows belong to the samples whose gradients are wanted. */
  readonly ofRows: boolean;
  /** Whether its columns do. */
  readonly ofColumns: boolean;
}

export function lengthOf({ start, end }: Range): number {
  return end - start;
}

/** Ranges of at most `size` samples, one after the other. */
export function cut({ start, end }: Range, size: number): Range[] {
  const count = Math.ceil((end - start) / size);
  return Array.from({ length: count }, (_, i) => ({
    start: start + i * size,
    end: Math.min(start + (i + 1) * size, end),
  }));
}

/**
 * The tiles of which something is wanted, of at most `size` rows and columns: all rows and all columns of the
 * samples `own`. No tile has but part of these, and those on the diagonal are square.
 */
export function tilesOf(batch: number, size: number, own: Range): Place[] {
  const ofOthers = (range: Range) => cut(range, size).map((range) => ({ range, isOwn: false }));
  const blocks = [
    ...ofOthers({ start: 0, end: own.start }),
    ...cut(own, size).map((range) => ({ range, isOwn: true })),
    ...ofOthers({ start: own.end, end: batch }),
  ];
  return blocks.flatMap((rows) =>
    blocks
      .filter((columns) => rows.isOwn || columns.isOwn)
      .map((columns) => ({
        rows: rows.range,
        columns: columns.range,
        ofRows: rows.isOwn,
        ofColumns: columns.isOwn,
      })),
  );
}

/** Whether a tile lies on the diagonal. */
export function isDiagonal({ rows, columns }: Place): boolean {
  return rows.start === columns.start;
}

/** Pairs of texts and images that are no negatives, kept as a list. */
export class ExcludedPairs {
  readonly #pairs: Int32Array;

  /** @param pairs text, image, text, image, and so on, in the order of texts. */
  constructor(pairs: Int32Array) {
    this.#pairs = pairs;
  }

  /** [texts, images], 1 where a pair is excluded; undefined if none of them is. */
  within(texts: Range, images: Range): Uint8Array | undefined {
    const pairs = this.#pairs;
    let mask: Uint8Array | undefined;
    for (let at = this.#firstOf(texts.start); pairs[at]! < texts.end; at += 2) {
      const image = pairs[at + 1]!;
      if (image < images.start || image >= images.end) continue;
      mask ??= new Uint8Array(lengthOf(texts) * lengthOf(images));
      mask[(pairs[at]! - texts.start) * lengthOf(images) + image - images.start] = 1;
    }
    return mask;
  }

  /** Where the pairs of texts from `text` on begin. */
  #firstOf(text: number): number {
    let low = 0;
    let high = this.#pairs.length / 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#pairs[2 * middle]! < text) low = middle + 1;
      else high = middle;
    }
    return 2 * low;
  }
}
