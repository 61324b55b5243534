import { Worker } from "node:worker_threads";
import { ClipsmithError } from "../util/errors.js";
import { openStream, type StreamOptions } from "./open-stream.js";
import type { Reader } from "./reader.js";
import type { Sample } from "./sample.js";
import { isInMemory, type OpenedSource } from "./source.js";
import type { SampleStream, Streamed } from "./stream.js";
import type { StreamPosition } from "./stream-position.js";

/** What the thread is started with. */
export interface StreamThreadData {
  readonly sources: readonly (readonly Sample[] | OpenedSource)[];
  readonly weights?: readonly number[];
  readonly seed: number;
  readonly shuffleBuffer?: number;
  readonly reader?: Reader;
  readonly position?: StreamPosition;
  /** Entries that are sent together. */
  readonly chunk: number;
}

/** Entries next to each other, and where the stream stands after each of them. */
export type StreamChunk = readonly {
  readonly entry: Streamed;
  readonly position: StreamPosition;
}[];

/** What the thread sends: entries, or why there are no more. */
export type StreamReply =
  | { readonly chunk: StreamChunk }
  | { readonly message: string; readonly isClipsmith: boolean };

/** Chunks that are on their way or waiting, at most. */
const CHUNKS_AHEAD = 4;

/**
 * {@link openStream}, read in a thread of its own where there are shards and all of them were opened by
 * openSource. Then reading goes on while this thread computes; the entries are the same.
 *
 * @param ahead entries that are kept ready, about
 */
export function openStreamAhead(options: StreamOptions, ahead: number): SampleStream {
  const stream = openStream(options);
  const { sources, ...others } = options;
  const known: StreamThreadData["sources"][number][] = [];
  for (const source of sources) {
    if (isInMemory(source)) known.push(source);
    else if (source.opened) known.push(source.opened);
  }
  if (sources.every(isInMemory) || known.length < sources.length) return stream;
  const chunk = Math.ceil(ahead / CHUNKS_AHEAD);
  return new StreamThread({ ...others, sources: known, chunk }, stream.position);
}

/** A stream in another thread. */
class StreamThread implements SampleStream {
  readonly #data: StreamThreadData;
  /** Chunks by the order in which they were asked for. */
  readonly #coming: Promise<StreamChunk>[] = [];
  readonly #waiting: { resolve(chunk: StreamChunk): void; reject(error: Error): void }[] = [];
  #chunk: StreamChunk = [];
  #place = 0;
  #position: StreamPosition;
  #worker: Worker | undefined;
  #failure: Error | undefined;
  #closed = false;

  /** @param position where it stands at first */
  constructor(data: StreamThreadData, position: StreamPosition) {
    this.#data = data;
    this.#position = position;
  }

  get position(): StreamPosition {
    return this.#position;
  }

  async next(): Promise<Streamed> {
    while (this.#place >= this.#chunk.length) {
      this.#ask();
      this.#chunk = await this.#coming.shift()!;
      this.#place = 0;
      this.#ask();
    }
    const { entry, position } = this.#chunk[this.#place++]!;
    this.#position = position;
    return entry;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#fail(new Error("StreamThread: next() after close()"));
    await this.#worker?.terminate();
  }

  #ask(): void {
    this.#worker ??= this.#start();
    const worker = this.#worker;
    while (this.#coming.length < CHUNKS_AHEAD) {
      const coming = new Promise<StreamChunk>((resolve, reject) => {
        if (this.#failure) return reject(this.#failure);
        this.#waiting.push({ resolve, reject });
        worker.ref();
        worker.postMessage("next");
      });
      // A failure is seen when it is the chunk's turn.
      coming.catch(() => {});
      this.#coming.push(coming);
    }
  }

  #start(): Worker {
    const worker = new Worker(new URL("./stream-worker.js", import.meta.url), {
      workerData: this.#data,
      // Some options of the process, --input-type for one, stop a worker from starting.
      execArgv: [],
    });
    worker.on("message", (reply: StreamReply) => {
      if ("chunk" in reply) this.#waiting.shift()?.resolve(reply.chunk);
      else
        this.#fail(
          reply.isClipsmith ? new ClipsmithError(reply.message) : new Error(reply.message),
        );
      // Nobody waits; but the end of a closed thread is waited for.
      if (this.#waiting.length === 0 && !this.#closed) worker.unref();
    });
    worker.on("error", (error) => this.#fail(error));
    worker.on("exit", (code) => this.#fail(new Error(`it exited with code ${code}`)));
    return worker;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }
}
