import { isInMemory, openStream, type StreamSource } from "../data/index.js";
import { ClipsmithError } from "../util/errors.js";

/** What is known of the data before training. */
export interface Survey {
  /** Captions to train a tokenizer on, and to tell how long texts are. */
  readonly captions: readonly string[];
  /** How many samples there are; infinity where they were not read to the end. */
  readonly samples: number;
}

/** Of a source in shards, so many captions are read ... */
const MOST_CAPTIONS = 200_000;
/** ... or so many bytes of pictures, which have to be read along. */
const MOST_BYTES = 2 ** 31;

/**
 * Reads captions of all sources: all of those in memory, and the first 200,000 or those of 2 GiB of a
 * source in shards, some of its shards in turn. With `countAll` sources are read on to their end.
 *
 * @throws ClipsmithError when there are not two samples, with captions to tell them apart
 */
export async function survey(
  sources: readonly StreamSource[],
  seed: number,
  { countAll = false }: { readonly countAll?: boolean } = {},
): Promise<Survey> {
  const captions: string[] = [];
  let samples = 0;
  for (const source of sources) {
    if (isInMemory(source)) {
      for (const sample of source) for (const caption of sample.captions) captions.push(caption);
      samples += source.length;
    } else {
      samples += await readCaptions(source, seed, captions, countAll);
    }
  }
  if (samples < 2) {
    throw new ClipsmithError(
      `Training needs at least two pictures with captions, to tell them apart; found ${samples}.`,
    );
  }
  if (captions.every((caption) => caption === captions[0])) {
    throw new ClipsmithError(
      "All pictures have the same caption: there is nothing to tell them apart by.",
    );
  }
  return { captions, samples };
}

/** Adds a source's captions; returns its number of samples, if it was read to the end. */
async function readCaptions(
  source: StreamSource,
  seed: number,
  captions: string[],
  countAll: boolean,
): Promise<number> {
  const most = captions.length + MOST_CAPTIONS;
  const stream = openStream({ sources: [source], seed, shuffleBuffer: 256 });
  let samples = 0;
  let bytes = 0;
  try {
    for (;;) {
      const enough = captions.length >= most || bytes >= MOST_BYTES;
      if (enough && !countAll) return Number.POSITIVE_INFINITY;
      const entry = await stream.next();
      if (entry.epoch > 0) return samples;
      if ("reason" in entry) continue;
      samples++;
      if (!enough) captions.push(...entry.captions);
      if (typeof entry.picture !== "string") bytes += entry.picture.length;
    }
  } finally {
    await stream.close();
  }
}
