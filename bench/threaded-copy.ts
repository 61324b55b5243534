import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

/** Bytes that each thread copies at a time, from one buffer to another: far more than caches hold. */
const BLOCK = 256 * 2 ** 20;

/** Places of the counters that the threads share. */
const ROUND = 0;
const DONE = 1;
const BYTES = 2;

/**
 * The C library's memcpy on several threads at once, each within memory of its own: the speed that the
 * machine's memory has for whoever uses all of them.
 */
export class ThreadedCopy {
  readonly #workers: readonly Worker[];
  readonly #counters: BigInt64Array;

  private constructor(workers: readonly Worker[], counters: BigInt64Array) {
    this.#workers = workers;
    this.#counters = counters;
  }

  static async start(threads: number): Promise<ThreadedCopy> {
    const counters = new BigInt64Array(new SharedArrayBuffer(24));
    const workers = Array.from(
      { length: threads },
      () => new Worker(new URL(import.meta.url), { workerData: counters }),
    );
    await Promise.all(
      workers.map((worker) => new Promise((ready) => worker.once("message", ready))),
    );
    return new ThreadedCopy(workers, counters);
  }

  /** Copies so many bytes, shared out among the threads, and waits for the last of them. */
  copy(bytes: number): void {
    const counters = this.#counters;
    const threads = this.#workers.length;
    Atomics.store(counters, DONE, 0n);
    Atomics.store(counters, BYTES, BigInt(Math.ceil(bytes / threads)));
    Atomics.add(counters, ROUND, 1n);
    Atomics.notify(counters, ROUND);
    for (let done = 0n; done < threads; done = Atomics.load(counters, DONE)) {
      Atomics.wait(counters, DONE, done);
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

function copyOnRequest(counters: BigInt64Array): never {
  const from = new Uint8Array(BLOCK).fill(1);
  const to = new Uint8Array(BLOCK).fill(2);
  parentPort!.postMessage("ready");
  for (let round = 0n; ; round++) {
    Atomics.wait(counters, ROUND, round);
    for (let left = Number(Atomics.load(counters, BYTES)); left > 0; left -= BLOCK) {
      to.set(left < BLOCK ? from.subarray(0, left) : from);
    }
    Atomics.add(counters, DONE, 1n);
    Atomics.notify(counters, DONE);
  }
}

if (!isMainThread) copyOnRequest(workerData as BigInt64Array);
