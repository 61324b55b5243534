import { CANNOT_BE_READ, CHANGED, Unreadable } from "./byte-file.js";
import type { LitterCount } from "./litter.js";
import type { Skipped } from "./sample.js";
import type { Shard, SourceOptions, SourceSample } from "./source.js";

export type Entry = SourceSample | Skipped;

/** Most bytes that are taken for one picture or one file of captions, unless told otherwise. */
export const MAX_ENTRY_BYTES = 2 ** 28;

/**
 * A shard of what `entries` yields: all entries, with undefined allowed for those before `start`. Where
 * it throws {@link Unreadable}, the rest of the shard is one last entry that says so.
 */
export function shardOf(
  name: string,
  entries: (start: number) => AsyncIterable<Entry | undefined>,
): Shard {
  return {
    name,
    async *read(start = 0) {
      let index = 0;
      try {
        for await (const entry of entries(start)) {
          if (index++ >= start) yield entry!;
        }
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        if (index >= start) yield { where: name, reason: error.message, rest: true };
      }
    },
  };
}

/** An entry that tells of pictures in an archive that are a system's, if there are any. */
export function litterEntry(name: string, { summary }: LitterCount): Entry[] {
  if (summary === undefined) return [];
  return [{ where: name, reason: `left out by rule: ${summary}`, aside: true }];
}

/** What is taken from an archive. */
export type ArchiveOptions = Pick<SourceOptions, "maxEntryBytes" | "captions">;

/**
 * Whether an entry stands for the rest of a shard that is out of reach: not damaged, so that it may be
 * there another time.
 */
export function isOutOfReach({ rest, reason }: Skipped): boolean {
  return rest === true && [CANNOT_BE_READ, CHANGED].includes(reason.split(": ", 1)[0]!);
}

/** Why something of so many bytes is left out. */
export function tooLarge(bytes: number, limit: number): string {
  const megabytes = (count: number) => `${(count / 2 ** 20).toFixed(1)} MB`;
  return `the picture is too large: ${megabytes(bytes)}, the limit is ${megabytes(limit)}`;
}
