import { type SampleSource, SkipLog, type Skipped, type SkippedSummary } from "../data/index.js";
import { isOutOfReach } from "../data/shard.js";
import type { Model } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { Lock } from "../util/lock.js";
import { parseOptions } from "../util/options.js";
import { type Embedded, type EmbeddedBatch, embedEntries } from "./embed-entries.js";
import { describeSource, type Manifest } from "./manifest.js";
import { type EmbedOptions, type EmbedOptionsInput, embedOptionsSchema } from "./options.js";
import { openFolder, PartFiles } from "./part-files.js";
import { type Part, portionsOf, readPortions, samplesIn } from "./portions.js";

export interface EmbedRun extends EmbedOptionsInput {
  readonly model: Model;
  /** At least one, opened with captions optional if pictures without count. */
  readonly sources: readonly SampleSource[];
  /** Folder of the embeddings, which all parts share. */
  readonly out: string;
  /** Which part of the work this process does. Default: all. */
  readonly part?: Part;
  /** Stops after the batch under way; what is embedded is kept. */
  readonly signal?: AbortSignal;
  /** Called before the first batch. */
  readonly onStart?: (start: EmbedStart) => void;
  /** Called after each batch. */
  readonly onProgress?: (progress: EmbedProgress) => void;
}

/** What there is to do. */
export interface EmbedStart {
  /** Pictures that were embedded before. */
  readonly pictures: number;
  /** Shards of the sources to go through, all or part of each. */
  readonly portions: number;
  /** Samples in all of them; undefined if that is not known before they are read. */
  readonly total: number | undefined;
}

export interface EmbedProgress {
  /** Pictures embedded, those before included. */
  readonly pictures: number;
  /** Shards of the sources that are behind. */
  readonly portions: number;
  /** How long the model waited for the last batch. */
  readonly waitSeconds: number;
  /** What to tell of skipped samples. */
  readonly news: readonly string[];
}

export interface EmbedResult {
  /** Pictures of the part that are embedded. */
  readonly pictures: number;
  /** How many of them by this process. */
  readonly embedded: number;
  /** False if a signal stopped it before its end. */
  readonly finished: boolean;
  readonly skipped: SkippedSummary;
  /** Path of the file that names what was skipped. */
  readonly skippedPath: string;
}

/**
 * Embeds sources into a folder of shards. What was stopped or killed is gone on with by the same call:
 * shards that are there are kept, and no sample is embedded twice or left out.
 *
 * @throws ClipsmithError when the folder holds something else, when another process embeds the part, when too
 *   much cannot be used, when a shard is out of reach, or when the disk is full
 */
export async function embed(run: EmbedRun): Promise<EmbedResult> {
  const { model, sources, out, part = { index: 0, count: 1 } } = run;
  const options = optionsOf(run);
  if (!Number.isInteger(part.index) || part.index < 0 || part.index >= part.count) {
    throw new ClipsmithError(
      `There is no part ${part.index} of ${part.count}: parts count from 0.`,
    );
  }
  const manifest: Manifest = {
    format: 1,
    model: { checksum: model.checksum, width: model.width },
    sources: sources.map(describeSource),
    parts: part.count,
    texts: options.texts,
    thumbnailSize: options.thumbnailSize,
  };
  await openFolder(out, manifest);
  const files = new PartFiles(out, manifest, part.index);
  const what = part.count === 1 ? out : `Part ${part.index} of ${part.count} of ${out}`;
  const lock = await Lock.take(files.lockPath, `${what} is being embedded`);
  try {
    return await embedPart(run, options, part, files, lock);
  } finally {
    await lock.release();
  }
}

async function embedPart(
  { model, sources, signal, onStart, onProgress }: EmbedRun,
  options: EmbedOptions,
  part: Part,
  files: PartFiles,
  lock: Lock,
): Promise<EmbedResult> {
  const before = await files.state();
  const { skippedPath } = files;
  const log = new SkipLog(skippedPath, {
    rate: options.maxSkippedRate,
    work: "Embedding",
    option: "maxSkippedRate",
    remedy: "allow for more; then go on by the same command",
  });
  let { shards, pictures } = before;
  const result = (finished: boolean): EmbedResult => {
    const embedded = pictures - before.pictures;
    return { pictures, embedded, finished, skipped: log.summary, skippedPath };
  };
  if (before.isFinished) return result(true);

  await files.removeFrom(shards);
  const portions = portionsOf(sources, part);
  onStart?.({ pictures, portions: portions.length, total: samplesIn(portions) });
  let batches: EmbeddedBatch[] = [];
  /** Writes what is embedded and in no shard yet. */
  const write = async () => {
    const content = joined(batches);
    if (content.samples.length === 0) return;
    await lock.check();
    await files.write(shards, content, batches.at(-1)!.next);
    shards++;
    batches = [];
  };
  for await (const batch of embedEntries(model, readPortions(portions, before.next), options)) {
    const unread = options.skipUnreadable ? undefined : batch.skipped.find(isOutOfReach);
    if (unread !== undefined) {
      await write();
      throw outOfReach(unread);
    }
    for (const skipped of batch.skipped) log.skip(skipped);
    log.used(batch.samples.length);
    batches.push(batch);
    pictures += batch.samples.length;
    const { next, waitSeconds } = batch;
    onProgress?.({ pictures, portions: next.portion, waitSeconds, news: log.news() });
    if (picturesIn(batches) >= options.shardSize) await write();
    if (signal?.aborted) {
      await write();
      return result(false);
    }
  }
  await write();
  if (pictures === 0 && part.count === 1) throw nothing(log.summary);
  await files.finish({ shards, pictures });
  return result(true);
}

function optionsOf(run: EmbedRun): EmbedOptions {
  const { model, sources, out, part, signal, onStart, onProgress, ...options } = run;
  return parseOptions(embedOptionsSchema, options, "Embedding");
}

function picturesIn(batches: readonly EmbeddedBatch[]): number {
  return batches.reduce((sum, { samples }) => sum + samples.length, 0);
}

/** The content of batches as that of one shard. */
function joined(batches: readonly EmbeddedBatch[]): Embedded {
  return {
    samples: batches.flatMap(({ samples }) => samples),
    embeddings: concat(batches.map(({ embeddings }) => embeddings)),
    ...(batches[0]?.texts && { texts: concat(batches.map(({ texts }) => texts!)) }),
  };
}

function concat(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const array of arrays) {
    all.set(array, start);
    start += array.length;
  }
  return all;
}

function outOfReach({ where, reason }: Skipped): ClipsmithError {
  return new ClipsmithError(
    `${where}: ${reason}. What was embedded is kept: go on by the same command, or leave out what cannot ` +
      "be had by skipUnreadable.",
  );
}

function nothing({ first: [skipped] }: SkippedSummary): ClipsmithError {
  const first = skipped && ` The first one is ${skipped.where}: ${skipped.reason}`;
  return new ClipsmithError(`There was no picture that could be embedded.${first ?? ""}`);
}
