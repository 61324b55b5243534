import type {
  LoadedPictures,
  PictureLoader,
  PictureRequest,
  SampleStream,
  SkipLog,
  Skipped,
  StreamedSample,
  StreamPosition,
} from "../data/index.js";
import { type Communicator, solo } from "../distributed/index.js";
import { ClipsmithError } from "../util/errors.js";
import { evenChunks, evenPart } from "./batch.js";
import { type DecodedSamples, DecodedSamplesReader } from "./decoded-samples.js";
import { gatherLists, ownRange } from "./ranks.js";
import { ownReaders, type RunPosition, readsAll } from "./readers.js";

/** What every rank knows of a sample, though it may not have the picture. */
export type SampleFacts = Omit<StreamedSample, "picture">;

/** The samples of a batch of B pairs. */
export interface SamplesOfBatch {
  readonly samples: readonly SampleFacts[];
  /** Those that this rank has the pictures of, from the `start`-th on: its own part at least. */
  readonly own: { readonly start: number; readonly samples: readonly StreamedSample[] };
  /** [B]: equal ones are of equal pictures. */
  readonly fingerprints: Float64Array;
  /** Where the streams stand after the last of them. */
  readonly position: RunPosition;
  /** The pictures, where one process has decoded all of a batch at once. */
  readonly pictures: Pick<LoadedPictures, "pixels" | "views"> | undefined;
}

export interface BatchSamplesOptions {
  /** Those of the rank's own readers, see {@link ownReaders}. */
  readonly streams: readonly SampleStream[];
  /** How many readers there are on all ranks. */
  readonly readers: number;
  /** Ranks that share every batch; default: this process alone. */
  readonly communicator?: Communicator | undefined;
  readonly batchSize: number;
  /** Most pictures that are decoded together. */
  readonly chunkSize: number;
  readonly loader: PictureLoader;
  readonly requestOf: (sample: StreamedSample) => PictureRequest;
  /** Numbers that a decoded picture and its views are. */
  readonly pictureNumbers: number;
  /** Is told of every entry of all streams. */
  readonly log: SkipLog;
}

/** What a reader gives of a batch. */
interface ReaderPart {
  readonly samples: readonly StreamedSample[];
  readonly fingerprints: readonly number[];
  readonly position: StreamPosition;
  readonly loads: readonly DecodedSamples[];
}

/** An entry of a stream as the log is told of it: it could be used, or not. */
type Told = "used" | (Skipped & { readonly lost: number });

/** What a rank found for a batch, or why it found nothing. */
interface Found {
  readonly samples: readonly SampleFacts[];
  readonly fingerprints: readonly number[];
  readonly positions: readonly StreamPosition[];
  readonly told: readonly Told[];
  readonly failure?: string;
}

/** Loads decoded ahead of need: as many as this ... */
const MOST_AHEAD = 4;
/** ... or as take this many bytes of pixels, if they are fewer. */
const AHEAD_BYTES = 2 ** 30;

/**
 * The samples of one batch after the other. Each reader gives an equal part of every batch, whichever rank
 * it is on. Where every rank has as many readers of its own, they tell each other what those found; else
 * all ranks read everything, and share the decoding.
 */
export class BatchSamples {
  readonly #options: BatchSamplesOptions;
  readonly #rank: Communicator;
  readonly #readers: readonly DecodedSamplesReader[];
  /** Of ranks with readers of their own: what the log was not told yet. */
  #told: Told[] = [];

  constructor(options: BatchSamplesOptions) {
    this.#options = options;
    this.#rank = options.communicator ?? solo();
    const { streams, readers, batchSize, chunkSize, pictureNumbers, loader, requestOf } = options;
    const count = Math.min(chunkSize, Math.ceil(batchSize / readers));
    const fitting = Math.floor(AHEAD_BYTES / (4 * pictureNumbers * count * streams.length));
    const ahead = Math.max(1, Math.min(MOST_AHEAD, fitting));
    const { log, communicator } = options;
    const later = {
      used: () => void this.#told.push("used"),
      skip: (skipped: Skipped, lost = 1) => void this.#told.push({ ...skipped, lost }),
    };
    const shares = this.#exchanges ? { log: later } : { log, communicator };
    this.#readers = streams.map(
      (stream) => new DecodedSamplesReader({ stream, loader, requestOf, count, ahead, ...shares }),
    );
  }

  /** Whether ranks have readers of their own. */
  get #exchanges(): boolean {
    return this.#rank.size > 1 && !readsAll(this.#options.readers, this.#rank);
  }

  /**
   * Those of the next batch. Calls are made one after the other.
   *
   * @throws ClipsmithError, on all ranks, when a stream fails or too much is skipped
   */
  async next(): Promise<SamplesOfBatch> {
    return this.#exchanges ? this.#exchanged() : this.#read();
  }

  async #read(): Promise<SamplesOfBatch> {
    const parts = await this.#ownParts();
    const samples = parts.flatMap((part) => part.samples);
    const [load, ...more] = parts.flatMap(({ loads }) => loads);
    const isWhole = more.length === 0 && this.#rank.size === 1;
    return {
      samples,
      own: { start: 0, samples },
      fingerprints: Float64Array.from(parts.flatMap((part) => part.fingerprints)),
      position: positionOf(parts.map((part) => part.position)),
      pictures: isWhole ? load : undefined,
    };
  }

  /** Reads this rank's part, and learns of the others'. A rank that fails tells them, so that all stop. */
  async #exchanged(): Promise<SamplesOfBatch> {
    const { batchSize, log } = this.#options;
    const parts = await this.#ownParts().catch((error) => {
      if (error instanceof ClipsmithError) return error;
      throw error;
    });
    const told = this.#told;
    this.#told = [];
    const failed = parts instanceof ClipsmithError;
    const own = failed ? [] : parts;
    const all = await gatherLists<Found>(this.#rank, [
      {
        samples: own.flatMap(({ samples }) => samples.map(factsOf)),
        fingerprints: own.flatMap(({ fingerprints }) => fingerprints),
        positions: own.map(({ position }) => position),
        told,
        ...(failed && { failure: parts.message }),
      },
    ]);
    for (const entry of all.flatMap(({ told }) => told)) {
      if (entry === "used") log.used();
      else log.skip(entry, entry.lost);
    }
    const failure = all.find((found) => found.failure !== undefined)?.failure;
    if (failure !== undefined) throw new ClipsmithError(failure);
    return {
      samples: all.flatMap(({ samples }) => samples),
      own: {
        start: ownRange(batchSize, this.#rank)[0],
        samples: own.flatMap(({ samples }) => samples),
      },
      fingerprints: Float64Array.from(all.flatMap(({ fingerprints }) => fingerprints)),
      position: positionOf(all.flatMap(({ positions }) => positions)),
      pictures: undefined,
    };
  }

  /** What this rank's readers give of the batch. */
  async #ownParts(): Promise<ReaderPart[]> {
    const { batchSize, readers, chunkSize } = this.#options;
    const [first] = ownReaders(readers, this.#rank);
    const parts: ReaderPart[] = [];
    for (const [i, reader] of this.#readers.entries()) {
      const [start, end] = evenPart(batchSize, first + i, readers);
      const loads: DecodedSamples[] = [];
      for (const [from, to] of evenChunks(end - start, chunkSize)) {
        loads.push(await reader.next(to - from));
      }
      parts.push({
        samples: loads.flatMap(({ samples }) => samples),
        fingerprints: loads.flatMap(({ fingerprints }) => [...fingerprints]),
        position: loads.at(-1)!.position,
        loads,
      });
    }
    return parts;
  }
}

function factsOf({ name, captions, epoch }: StreamedSample): SampleFacts {
  return { name, captions, epoch };
}

function positionOf(positions: readonly StreamPosition[]): RunPosition {
  return positions.length === 1 ? positions[0]! : { readers: [...positions] };
}
