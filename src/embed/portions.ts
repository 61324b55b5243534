import type { SampleSource, Shard } from "../data/index.js";
import { type Entry, isOutOfReach } from "../data/shard.js";

/** One of so many processes that share work. */
export interface Part {
  /** From 0. */
  readonly index: number;
  readonly count: number;
}

/** What a part does of a shard: its entries `first`, `first + step`, `first + 2 * step`, ... */
export interface Portion {
  readonly shard: Shard;
  readonly first: number;
  readonly step: number;
}

/** A place between entries of a part: the next one is entry number `entry` of portion `portion`, or later. */
export interface Position {
  readonly portion: number;
  readonly entry: number;
}

export const BEGINNING: Position = { portion: 0, entry: 0 };

/** An entry of a part, and where the part goes on after it. */
export interface PlacedEntry {
  readonly entry: Entry;
  readonly next: Position;
}

/**
 * What one part does of some sources; each entry is in the portions of exactly one part.
 *
 * Of shards that are read, each part gets equally many whole ones, and what then remains, fewer shards
 * than parts, is split by entries: every part reads one of them. So no part reads more than one shard for
 * the sake of others. Folders and lists, which are in memory, are split by their entries.
 */
export function portionsOf(
  sources: readonly Pick<SampleSource, "shards">[],
  { index, count }: Part,
): Portion[] {
  const shards = sources.flatMap((source) => source.shards);
  const archives = shards.filter((shard) => shard.inMemory === undefined).length;
  const left = archives % count;
  const whole = archives - left;
  let seen = 0;
  return shards.flatMap((shard): Portion[] => {
    if (shard.inMemory !== undefined) return [{ shard, first: index, step: count }];
    const number = seen++;
    if (number < whole) return number % count === index ? [{ shard, first: 0, step: 1 }] : [];
    // The parts of a remaining shard are those with its number modulo `left`.
    const offset = number - whole;
    if (index % left !== offset) return [];
    return [{ shard, first: Math.floor(index / left), step: Math.ceil((count - offset) / left) }];
  });
}

/** Samples in some portions; undefined if that is not known before they are read. */
export function samplesIn(portions: readonly Portion[]): number | undefined {
  let sum = 0;
  for (const { shard, first, step } of portions) {
    if (shard.inMemory === undefined) return undefined;
    sum += Math.max(0, Math.ceil((shard.inMemory.samples.length - first) / step));
  }
  return sum;
}

/** The entries of some portions from a position on, in an order that is always the same. */
export async function* readPortions(
  portions: readonly Portion[],
  from: Position,
): AsyncGenerator<PlacedEntry> {
  for (let portion = from.portion; portion < portions.length; portion++) {
    const { shard, first, step } = portions[portion]!;
    let index = portion === from.portion ? from.entry : 0;
    for await (const entry of shard.read(index)) {
      const isOwn = index >= first && (index - first) % step === 0;
      index++;
      // What is out of reach of this part may not be of the others.
      if (isOwn || ("reason" in entry && isOutOfReach(entry))) {
        yield { entry, next: { portion, entry: index } };
      }
    }
  }
}
