import type {
  LoadedPictures,
  PictureLoader,
  PictureRequest,
  SampleStream,
  SkipLog,
  Streamed,
  StreamedSample,
  StreamPosition,
} from "../data/index.js";
import type { Communicator } from "../distributed/index.js";
import { gatherLists, ownRange } from "./ranks.js";

/** Samples next to each other in the stream whose pictures could be decoded. */
export interface DecodedSamples extends Omit<LoadedPictures, "failed" | "thumbnails"> {
  readonly samples: readonly StreamedSample[];
  /** Where the stream stands after the last of them. */
  readonly position: StreamPosition;
}

export interface DecodedSamplesOptions {
  readonly stream: SampleStream;
  readonly loader: PictureLoader;
  readonly requestOf: (sample: StreamedSample) => PictureRequest;
  /** How many samples are decoded together, and at most asked for at once. */
  readonly count: number;
  /** How many times as many are decoded ahead of need, at most. */
  readonly ahead: number;
  /** Is told of every entry, in the order of the stream. */
  readonly log: Pick<SkipLog, "used" | "skip">;
  /**
   * Ranks that read the same stream: each decodes a part of every load, and all learn which pictures could
   * be. No rank has the pixels then.
   */
  readonly communicator?: Communicator | undefined;
}

/** A part of the stream, its pictures decoded together. */
interface Load {
  readonly entries: readonly { readonly entry: Streamed; readonly position: StreamPosition }[];
  /** Of the samples among the entries. */
  readonly pictures: LoadedPictures;
}

/** A sample's place in the pictures of its load. */
interface Picked {
  readonly load: Load;
  readonly row: number;
  readonly sample: StreamedSample;
  readonly position: StreamPosition;
}

/**
 * Takes samples from a stream and decodes their pictures, ahead of need. What cannot be decoded is passed
 * over: the samples given do not depend on how many are decoded at once.
 */
export class DecodedSamplesReader {
  readonly #options: DecodedSamplesOptions;
  readonly #loads: Promise<Load>[] = [];
  readonly #picks: AsyncGenerator<Picked>;
  /** Settles when the stream may be asked for the samples of another load. */
  #taken: Promise<unknown> = Promise.resolve();
  /** Samples found unusable that no load has made up for. */
  #missing = 0;

  constructor(options: DecodedSamplesOptions) {
    this.#options = options;
    this.#picks = this.#usable();
  }

  /**
   * The next samples, as many as are decoded together unless told otherwise.
   *
   * @throws ClipsmithError when the stream fails, or too much is skipped
   */
  async next(count = this.#options.count): Promise<DecodedSamples> {
    const picks: Picked[] = [];
    while (picks.length < count) picks.push((await this.#picks.next()).value);
    return gather(picks);
  }

  /** Begins what is to be ready ahead of need. */
  prepare(): void {
    while (this.#loads.length < this.#options.ahead) {
      const load = this.#load();
      // A failure is seen when it is the load's turn.
      load.catch(() => {});
      this.#loads.push(load);
    }
  }

  async *#usable(): AsyncGenerator<Picked, never> {
    const { log } = this.#options;
    for (;;) {
      this.prepare();
      const load = await this.#shared(await this.#loads.shift()!);
      this.prepare();
      const failed = new Map(load.pictures.failed.map(({ index, reason }) => [index, reason]));
      let row = -1;
      for (const { entry, position } of load.entries) {
        if ("reason" in entry) {
          log.skip(entry, entry.lost);
          continue;
        }
        row++;
        const reason = failed.get(row);
        if (reason === undefined) {
          log.used();
          yield { load, row, sample: entry, position };
        } else {
          log.skip({ where: entry.name, reason });
          this.#missing++;
        }
      }
    }
  }

  async #load(): Promise<Load> {
    const taken = this.#taken.then(() => this.#take());
    this.#taken = taken.catch(() => {});
    const entries = await taken;
    const { loader, requestOf, communicator } = this.#options;
    const samples = entries.flatMap(({ entry }) => ("reason" in entry ? [] : [entry]));
    const own = communicator ? samples.slice(...ownRange(samples.length, communicator)) : samples;
    return { entries, pictures: await loader.load(own.map(requestOf)) };
  }

  /** A load of which other ranks decoded parts, with what all found. */
  async #shared({ entries, pictures }: Load): Promise<Load> {
    const { communicator } = this.#options;
    if (!communicator) return { entries, pictures };
    const count = entries.filter(({ entry }) => !("reason" in entry)).length;
    const [start] = ownRange(count, communicator);
    const fingerprints = await communicator.allGather(pictures.fingerprints);
    const failed = await gatherLists(
      communicator,
      pictures.failed.map(({ index, reason }) => ({ index: start + index, reason })),
    );
    return {
      entries,
      pictures: {
        pixels: new Float32Array(),
        views: [],
        fingerprints: new Float64Array(fingerprints.values),
        failed,
        thumbnails: new Map(),
      },
    };
  }

  /** As many samples as are asked for at once, and those that are missing: then loads end where batches do. */
  async #take(): Promise<Load["entries"]> {
    const { stream, count, communicator } = this.#options;
    // When some are found missing is a matter of time, and ranks have to take the same.
    let left = communicator ? count : count + this.#missing;
    this.#missing = 0;
    const entries: { entry: Streamed; position: StreamPosition }[] = [];
    while (left > 0) {
      const entry = await stream.next();
      entries.push({ entry, position: stream.position });
      if (!("reason" in entry)) left--;
    }
    return entries;
  }
}

/** The picks' pictures side by side; without copying where they are a whole load's. */
function gather(picks: readonly Picked[]): DecodedSamples {
  const samples = picks.map(({ sample }) => sample);
  const { position, load } = picks.at(-1)!;
  const { pixels, views, fingerprints } = load.pictures;
  if (fingerprints.length === picks.length && picks.every((pick) => pick.load === load)) {
    return { samples, position, pixels, views, fingerprints };
  }
  const collect = <A extends Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>>(
    like: A,
    of: (pictures: LoadedPictures) => A,
  ): A => {
    const length = like.length / fingerprints.length;
    const all = new (like.constructor as new (length: number) => A)(length * picks.length);
    for (const [i, { load, row }] of picks.entries()) {
      all.set(of(load.pictures).subarray(row * length, (row + 1) * length), i * length);
    }
    return all;
  };
  return {
    samples,
    position,
    pixels: collect(pixels, (pictures) => pictures.pixels),
    views: views.map((view, v) => collect(view, (pictures) => pictures.views[v]!)),
    fingerprints: collect(fingerprints, (pictures) => pictures.fingerprints),
  };
}
