import type { Communicator } from "../distributed/index.js";
import { evenPart, type Range } from "./batch.js";

/** The part of so many things that a rank answers for; sizes differ by one at most. */
export function ownRange(
  count: number,
  { rank, size }: Pick<Communicator, "rank" | "size">,
): Range {
  return evenPart(count, rank, size);
}

/** The entries of all ranks' lists, by rank. They go through JSON. */
export async function gatherLists<T>(communicator: Communicator, list: readonly T[]): Promise<T[]> {
  const bytes = new TextEncoder().encode(
    list.map((entry) => `${JSON.stringify(entry)}\n`).join(""),
  );
  const { values } = await communicator.allGather(bytes);
  const lines = new TextDecoder().decode(values).split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as T);
}
