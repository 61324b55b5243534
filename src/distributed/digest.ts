import { createHash } from "node:crypto";
import { ClipsmithError } from "../util/errors.js";
import type { Communicator } from "./communicator.js";

/** Enough to tell any two tensors apart. */
const DIGEST_BYTES = 8;

/**
 * Checks that tensors are equal to the last bit on all ranks, by their hashes: about half a second for a
 * gigabyte, and eight bytes a tensor to send. All ranks call it, and all fail if one differs.
 *
 * @throws ClipsmithError that names the first tensor that differs, and the ranks
 */
export async function sameOnAllRanks(
  communicator: Communicator,
  tensors: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  if (communicator.size === 1) return;
  const names = [...tensors.keys()];
  const digests = Buffer.concat([
    digest(names.join("\n")),
    ...[...tensors.values()].map((values) => digest(bytesOf(values))),
  ]);
  const { values, counts } = await communicator.allGather(new Uint8Array(digests));
  const all = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const digestOf = (rank: number, i: number) => {
    const start = counts.slice(0, rank).reduce((sum, count) => sum + count, 0) + i * DIGEST_BYTES;
    return all.toString("hex", start, start + DIGEST_BYTES);
  };
  for (const [i, what] of ["the list of tensors", ...names].entries()) {
    const groups = new Map<string, number[]>();
    for (const rank of counts.keys()) {
      const hash = digestOf(rank, i);
      groups.set(hash, [...(groups.get(hash) ?? []), rank]);
    }
    if (groups.size === 1) continue;
    const [most, ...others] = [...groups.values()].sort((a, b) => b.length - a.length);
    throw new ClipsmithError(
      `The ranks have come apart: ${what} on ${inWords(others.flat())} differs from ${inWords(most!)}. ` +
        "Resume from the last checkpoint; if it happens again, look at the memory of these hosts.",
    );
  }
}

function digest(data: string | Uint8Array): Buffer {
  return createHash("sha1").update(data).digest().subarray(0, DIGEST_BYTES);
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Ranks as a message calls them. */
function inWords(ranks: readonly number[]): string {
  const shown = ranks.toSorted((a, b) => a - b).slice(0, 8);
  const more = ranks.length > shown.length ? ` and ${ranks.length - shown.length} more` : "";
  return `rank${ranks.length > 1 ? "s" : ""} ${shown.join(", ")}${more}`;
}
