import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../util/errors.js";
import { type ByteFile, CANNOT_BE_READ, CHANGED, Unreadable } from "./byte-file.js";

/** How patiently files are read over a network. */
export interface RemoteOptions {
  /** Tries in a row without a new byte before the rest of a file is left out. Default: 6. */
  readonly tries?: number;
  /** Wait after the first of them, in milliseconds; each further is twice as long, up to 30 s. Default: 500. */
  readonly waitMs?: number;
  /** Silence after which a connection counts as lost, in milliseconds. Default: 30,000. */
  readonly silenceMs?: number;
}

/** What a server answers to a request for bytes. */
export interface Answer {
  /** Where `body` begins in the file: 0 from servers that know no ranges. */
  readonly start: number;
  /** Of the whole file, in bytes, if the server says so. */
  readonly size: number | undefined;
  /** Tells this version of the file from others, if the server says so. */
  readonly tag: string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
}

/** Asks for the bytes from `start` to before `end`, of version `tag` if given. */
export type Ask = (
  range: { readonly start: number; readonly end: number | undefined },
  tag: string | undefined,
  signal: AbortSignal,
) => Promise<Answer>;

export const DEFAULT_TRIES = 6;
export const DEFAULT_SILENCE_MS = 30_000;
const MAX_WAIT_MS = 30_000;

/**
 * A file on a server. A connection that fails, or falls silent, is taken up again where it stopped.
 * Errors that `ask` throws as {@link Unreadable} are final.
 */
export class RemoteFile implements ByteFile {
  readonly #ask: Ask;
  readonly #tries: number;
  readonly #waitMs: number;
  readonly #silenceMs: number;
  #tag: string | undefined;
  #size: number | undefined;

  constructor(
    ask: Ask,
    { tries = DEFAULT_TRIES, waitMs = 500, silenceMs = DEFAULT_SILENCE_MS }: RemoteOptions = {},
  ) {
    this.#ask = ask;
    this.#tries = tries;
    this.#waitMs = waitMs;
    this.#silenceMs = silenceMs;
  }

  async *read(start = 0, end?: number): AsyncGenerator<Uint8Array> {
    let at = start;
    let failures = 0;
    while (end === undefined || at < end) {
      const abort = new AbortController();
      try {
        const answer = await this.#inTime(this.#ask({ start: at, end }, this.#tag, abort.signal));
        this.#check(answer);
        let position = answer.start;
        const chunks = answer.body[Symbol.asyncIterator]();
        // Past the end only where the server knows no ranges.
        while (end === undefined || position <= end) {
          const { done, value } = await this.#inTime(chunks.next());
          if (done) break;
          const wanted = value.subarray(Math.max(0, at - position), end && end - position);
          position += value.length;
          if (wanted.length === 0) continue;
          at += wanted.length;
          failures = 0;
          yield wanted;
        }
        if (at < Math.min(end ?? Number.POSITIVE_INFINITY, answer.size ?? 0)) {
          throw new Error("the connection was closed");
        }
        return;
      } catch (error) {
        if (error instanceof Unreadable) throw error;
        failures++;
        if (failures >= this.#tries) {
          const detail = `${reasonOf(error)}, at byte ${at}, in ${failures} tries`;
          throw new Unreadable(CANNOT_BE_READ, detail, error);
        }
      } finally {
        abort.abort();
      }
      await sleep(Math.min(this.#waitMs * 2 ** (failures - 1), MAX_WAIT_MS));
    }
  }

  async size(): Promise<number> {
    if (this.#size === undefined) for await (const _ of this.read()) break;
    if (this.#size === undefined) {
      throw new Unreadable(CANNOT_BE_READ, "the server does not say how long it is");
    }
    return this.#size;
  }

  /** One version of a file must not be continued by another. */
  #check({ tag, size }: Answer): void {
    if (this.#tag !== undefined && tag !== this.#tag) {
      throw new Unreadable(CHANGED);
    }
    this.#tag = tag;
    this.#size = size;
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      const message = `nothing came for ${this.#silenceMs / 1000} s`;
      timer = setTimeout(() => reject(new Error(message)), this.#silenceMs);
    });
    try {
      return await Promise.race([work, silence]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** fetch only says "fetch failed"; what failed is its cause. */
function reasonOf(error: unknown): string {
  const cause = (error as Error).cause;
  if (cause === undefined) return messageOf(error);
  return messageOf(cause) || String((cause as NodeJS.ErrnoException).code);
}
