import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { AugmentOptions, PixelFormat } from "./augment.js";
import type { DecodeOptions } from "./picture.js";
import type {
  Blend,
  KeptPicture,
  LoadReply,
  LoadRequest,
  PictureWorkerData,
} from "./picture-worker.js";

export interface PictureLoaderOptions extends PixelFormat, DecodeOptions {
  /**
   * Threads that change and normalise pictures, one load each at a time; decoding has the threads of
   * libuv besides. Default: one for every four cores, at most four; 0 is the default, too.
   */
  readonly workers?: number;
  /**
   * Most bytes of decoded pictures kept for later loads, by path; files must then not change while the
   * loader lives. Kept are the squares (size * size * channels) or, where crops are drawn, whole pictures
   * that are not much larger. 0 keeps none. Default: 1 GiB.
   */
  readonly cacheBytes?: number;
  /** How pictures requested with an `augmentKey` are changed. */
  readonly augment?: AugmentOptions;
  /**
   * Further views of every picture: how each is changed where there is an `augmentKey`, by random
   * numbers of its own. Default: none.
   */
  readonly views?: readonly AugmentOptions[];
  /**
   * Make a small copy, of at most so many pixels a side, of each picture that is given as bytes. Default:
   * none is made.
   */
  readonly thumbnailSize?: number;
}

export interface PictureRequest {
  /** The path of a file, or the bytes of one. */
  readonly picture: string | Uint8Array;
  /** Key of the random numbers of this picture's augmentation; none without it. */
  readonly augmentKey?: readonly (string | number)[];
  readonly blend?: Blend;
}

export interface LoadedPictures {
  /** [N, C, H, W], normalised; zero where a picture failed. */
  readonly pixels: Float32Array<ArrayBuffer>;
  /** As `pixels`, of each further view. */
  readonly views: readonly Float32Array<ArrayBuffer>[];
  /**
   * [N]: equal for equal pictures: as decoded and before they are changed or, where crops are drawn, as
   * files. Zero where one failed.
   */
  readonly fingerprints: Float64Array<ArrayBuffer>;
  /** By index, WebP files: of pictures given as bytes, if the loader makes any. */
  readonly thumbnails: ReadonlyMap<number, Uint8Array>;
  /** By index, in order. A reason is a kind, or `kind: detail`: equal causes have equal kinds. */
  readonly failed: readonly { readonly index: number; readonly reason: string }[];
}

/** Cores that one thread's pictures, and the training beside it, keep busy. */
const CORES_PER_WORKER = 4;
/** More than libuv's threads can decode for. */
const MOST_WORKERS = 4;

interface Pending {
  readonly resolve: (loaded: LoadedPictures) => void;
  readonly reject: (error: Error) => void;
}

/** A thread, and the loads it has been given. */
interface Member {
  readonly worker: Worker;
  readonly pending: Map<number, Pending>;
}

/**
 * Turns pictures into batches of pixels in threads of their own, so that decoding goes on while the
 * calling thread computes. A load is the work of one thread, which hands its arrays over: ask for several
 * at a time to keep more than one busy. The results don't depend on how many threads there are. They start
 * with the loads and keep no process alive when idle.
 */
export class PictureLoader {
  readonly #data: PictureWorkerData;
  readonly #cacheBytes: number;
  readonly #members: (Member | undefined)[];
  readonly #kept = new Map<string, KeptPicture>();
  #keptBytes = 0;
  #nextId = 0;
  readonly #underWay = new Set<Promise<unknown>>();
  #closed = false;

  constructor({
    workers = 0,
    fit = "cover",
    cacheBytes = 2 ** 30,
    augment = {},
    views = [],
    ...rest
  }: PictureLoaderOptions) {
    const { channels, mean, std } = rest;
    if (mean.length !== channels || std.length !== channels) {
      throw new Error(
        `PictureLoader: mean and std must have ${channels} numbers, one a channel; got ${mean.length} and ${std.length}.`,
      );
    }
    this.#data = { ...rest, fit, augment, views };
    this.#cacheBytes = cacheBytes;
    this.#members = new Array(workers === 0 ? defaultWorkers() : workers).fill(undefined);
  }

  /**
   * Loads begin in the order they are asked for. A picture that cannot be read fails alone.
   *
   * @throws Error when the thread ends unexpectedly (out of memory, say) or the loader was closed.
   */
  async load(requests: readonly PictureRequest[]): Promise<LoadedPictures> {
    if (this.#closed) throw new Error("PictureLoader: load() after close().");
    // Bytes are copied here and the copy handed over; a view posted as it is would be copied with all
    // of the buffer behind it.
    const transfers: ArrayBuffer[] = [];
    const pictures = requests.map((request) => {
      if (typeof request.picture === "string") return request;
      const bytes = new Uint8Array(request.picture);
      transfers.push(bytes.buffer);
      return { ...request, picture: bytes };
    });
    const { worker, pending } = this.#idlest();
    const request = {
      id: this.#nextId++,
      pictures,
      kept: this.#keptOf(requests),
      keep: this.#keptBytes < this.#cacheBytes,
    } satisfies LoadRequest;
    const loaded = new Promise<LoadedPictures>((resolve, reject) => {
      pending.set(request.id, { resolve, reject });
      worker.ref();
      worker.postMessage(request, transfers);
    });
    const settled = loaded
      .catch(() => {})
      .finally(() => {
        this.#underWay.delete(settled);
      });
    this.#underWay.add(settled);
    return loaded;
  }

  /** Waits for the loads under way, then ends the threads. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#underWay);
    await Promise.all(this.#members.splice(0).map((member) => member?.worker.terminate()));
  }

  /** The thread with the fewest loads, started if need be. */
  #idlest(): Member {
    const loads = this.#members.map((member) => member?.pending.size ?? 0);
    const place = loads.indexOf(Math.min(...loads));
    this.#members[place] ??= this.#start();
    return this.#members[place];
  }

  #start(): Member {
    const worker = new Worker(new URL("./picture-worker.js", import.meta.url), {
      workerData: this.#data,
      // Some options of the process, --input-type for one, stop a worker from starting.
      execArgv: [],
    });
    const member: Member = { worker, pending: new Map() };
    const { pending } = member;
    worker.on("message", ({ id, kept, ...loaded }: LoadReply) => {
      this.#keep(kept);
      pending.get(id)!.resolve(loaded);
      pending.delete(id);
      if (pending.size === 0) worker.unref();
    });
    worker.on("error", (error) => this.#lost(member, error));
    worker.on("exit", (code) => this.#lost(member, new Error(`it exited with code ${code}`)));
    return member;
  }

  /** Fails what waits for a thread that has ended; the next load starts another in its place. */
  #lost(member: Member, cause: Error): void {
    const place = this.#members.indexOf(member);
    if (place === -1) return;
    this.#members[place] = undefined;
    const error = new Error(`The thread that loads pictures ended: ${cause.message}`, { cause });
    for (const { reject } of member.pending.values()) reject(error);
    member.pending.clear();
  }

  #keptOf(requests: readonly PictureRequest[]): Map<string, KeptPicture> {
    const found = new Map<string, KeptPicture>();
    for (const { picture, blend } of requests) {
      for (const path of [picture, blend?.picture]) {
        const kept = typeof path === "string" ? this.#kept.get(path) : undefined;
        if (kept) found.set(path as string, kept);
      }
    }
    return found;
  }

  /**
   * Keeps pictures as long as there is room. What comes first stays: when every epoch asks for every
   * picture once, giving one up for another only loses hits.
   */
  #keep(pictures: ReadonlyMap<string, KeptPicture>): void {
    for (const [path, picture] of pictures) {
      const { length } = picture.pixels;
      if (this.#kept.has(path) || this.#keptBytes + length > this.#cacheBytes) continue;
      this.#kept.set(path, picture);
      this.#keptBytes += length;
    }
  }
}

function defaultWorkers(): number {
  const share = Math.floor(availableParallelism() / CORES_PER_WORKER);
  return Math.max(1, Math.min(share, MOST_WORKERS));
}
