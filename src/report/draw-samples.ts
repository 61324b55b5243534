import { isHeldOut } from "../data/held-out.js";
import type { SampleSource, SourceSample } from "../data/index.js";
import { random } from "../util/random.js";

/** Pictures are read out of archives up to this number; paths cost next to nothing. */
const MOST_READ = 4096;
/** Archives are read from their beginnings, this many pictures each. */
const READ_OF_EACH = 1024;

/**
 * Some samples of a source drawn at random and in a random order, the same every time; of archives, out
 * of the beginnings of a few.
 *
 * @param heldOut only those that training holds out, if it holds out this part of all
 */
export async function drawSamples(
  source: SampleSource,
  count: number,
  heldOut?: number,
): Promise<SourceSample[]> {
  const stream = random("report", "samples");
  const drawn: SourceSample[] = [];
  let seen = 0;
  let read = 0;
  for (const at of stream.permutation(source.shards.length)) {
    let readHere = 0;
    for await (const entry of source.shards[at]!.read()) {
      if ("reason" in entry) continue;
      if (heldOut === undefined || isHeldOut(entry.name, heldOut)) {
        // Each of the samples seen so far is among the drawn ones with the same probability.
        const place = seen < count ? seen : stream.integer(seen + 1);
        if (place < count) drawn[place] = entry;
        seen++;
      }
      if (typeof entry.picture === "string") continue;
      read++;
      if (++readHere >= READ_OF_EACH) break;
    }
    if (read >= MOST_READ) break;
  }
  return Array.from(stream.permutation(drawn.length), (at) => drawn[at]!);
}
