import { Worker } from "node:worker_threads";
import type { AugmentOptions, PixelFormat } from "./augment.js";
import type { DecodeOptions } from "./picture.js";
import type { Blend, LoadReply, LoadRequest, PictureWorkerData } from "./picture-worker.js";

export interface PictureLoaderOptions extends PixelFormat, DecodeOptions {
  /**
   * Most bytes of decoded pictures (size * size * channels each) kept for later loads, by path; files
   * must then not change while the loader lives. 0 keeps none. Default: 1 GiB.
   */
  readonly cacheBytes?: number;
  /** How pictures requested with an `augmentKey` are changed. */
  readonly augment?: AugmentOptions;
  /**
   * Further views of every picture: how each is changed where there is an `augmentKey`, by random
   * numbers of its own. Default: none.
   */
  readonly views?: readonly AugmentOptions[];
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
  /** [N]: equal for equal pictures, as decoded and before they are changed; zero where one failed. */
  readonly fingerprints: Float64Array<ArrayBuffer>;
  /** By index, in order. */
  readonly failed: readonly { readonly index: number; readonly reason: string }[];
}

interface Pending {
  readonly resolve: (loaded: LoadedPictures) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Turns pictures into batches of pixels in a thread of its own, so that decoding goes on while the
 * calling thread computes. The thread starts with the first load and keeps no process alive when idle.
 */
export class PictureLoader {
  readonly #data: PictureWorkerData;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #nextId = 0;
  /** Settles with the newest load; loads settle in order. */
  #newest: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor({
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
    this.#data = { ...rest, fit, cacheBytes, augment, views };
  }

  /**
   * Loads are served in the order they are asked for. A picture that cannot be read fails alone.
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
    const worker = this.#start();
    const id = this.#nextId++;
    const loaded = new Promise<LoadedPictures>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ id, pictures } satisfies LoadRequest, transfers);
    });
    this.#newest = loaded.catch(() => {});
    return loaded;
  }

  /** Waits for the loads under way, then ends the thread. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#newest;
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #start(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(new URL("./picture-worker.js", import.meta.url), {
      workerData: this.#data,
      // Some options of the process, --input-type for one, stop a worker from starting.
      execArgv: [],
    });
    worker.on("message", ({ id, ...loaded }: LoadReply) => {
      this.#pending.get(id)!.resolve(loaded);
      this.#pending.delete(id);
      if (this.#pending.size === 0) worker.unref();
    });
    worker.on("error", (error) => this.#lost(worker, error));
    worker.on("exit", (code) => this.#lost(worker, new Error(`it exited with code ${code}`)));
    this.#worker = worker;
    return worker;
  }

  /** Fails what waits for a worker that has ended; the next load starts another. */
  #lost(worker: Worker, cause: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const error = new Error(`The thread that loads pictures ended: ${cause.message}`, { cause });
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}
