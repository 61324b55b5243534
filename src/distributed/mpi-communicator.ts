import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { ClipsmithError } from "../util/errors.js";
import type { Communicator, CommunicatorOptions, Gathered } from "./communicator.js";
import { loadKoffi } from "./mpi.js";
import { libraryCandidates } from "./mpi-library.js";
import { dataTypeOf, type Operation, type Values } from "./operations.js";
import { nameOf, type Peer } from "./peers.js";
import type { Launcher, Place } from "./place.js";
import { tell } from "./tell.js";
import { callWitness, dismissWitness } from "./witness.js";

/** What the thread is started with. */
export interface MpiThreadData {
  readonly place: Place;
  readonly launcher: Launcher;
  readonly libraries: readonly string[];
  readonly waitLimitSeconds: number;
  readonly largestCount: number;
  /**
   * Shared by both threads. [0] changes when there is something to do; [1] is an exit status other than 0 once
   * all ranks are to be ended with it; [2] changes with every sign of life.
   */
  readonly signals: Int32Array;
}

/** What the thread is asked to do. */
export interface MpiRequest {
  readonly id: number;
  readonly operation: Operation;
}

/** What the thread sends: first who takes part, or why it cannot start; then the end of each operation. */
export type MpiReply =
  | { readonly version: string; readonly peers: readonly Peer[] }
  | { readonly message: string; readonly isClipsmith: boolean }
  | { readonly id: number; readonly gathered?: Gathered<Values> };

/** MPI counts in 32-bit numbers with a sign. */
const LARGEST_COUNT = 2 ** 30;
/** For all processes to be started, at least. */
const SHORTEST_START_SECONDS = 60;
/** For MPI to end. */
const FINALIZE_MS = 5000;
/** For other ranks to end too, where MPI does not. */
const LAST_MS = 1000;
/** For the end of all ranks to reach this one. */
const ABORT_SECONDS = 10;

export interface MpiOptions extends CommunicatorOptions {
  /** Elements that MPI is given at a time, at most. Default 2^30. */
  readonly largestCount?: number;
}

/**
 * How MPI is set up, unless the environment says otherwise.
 *
 * MPICH's transport, UCX, changes the code of brk, munmap and others while it starts, and takes over signals.
 * Threads that allocate at that moment, as V8's do, crash; and V8 needs SIGSEGV itself. It can do without both:
 * only memory for InfiniBand is then registered anew for each transfer.
 *
 * Open MPI sums in place by sending all of it up a tree and down again. Halving what is sent from step to step,
 * as Rabenseifner does, has each rank send every number about twice, however many ranks there are.
 */
const settings = {
  UCX_MEM_MMAP_HOOK_MODE: "none",
  UCX_MEM_MALLOC_HOOKS: "n",
  UCX_MEM_MALLOC_RELOC: "n",
  UCX_MEM_EVENTS: "n",
  UCX_HANDLE_ERRORS: "none",
  UCX_ERROR_SIGNALS: "",
  OMPI_MCA_coll_libnbc_iallreduce_algorithm: "rabenseifner",
};

interface Waiting {
  /** Keeps the memory alive that MPI works on. */
  readonly values: Values | undefined;
  resolve(gathered: Gathered<Values> | undefined): void;
  reject(error: Error): void;
}

/** Ranks over MPI, which lives in a thread of its own. */
export class MpiCommunicator implements Communicator {
  readonly rank: number;
  readonly size: number;
  readonly #worker: Worker;
  readonly #signals: Int32Array;
  readonly #addressOf: (values: Values) => bigint;
  /** C's _exit. */
  readonly #exitNow: (status: number) => void;
  readonly #peers: readonly Peer[];
  readonly #witness: Socket | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;
  #failure: Error | undefined;
  #closing: Promise<void> | undefined;

  /** @throws ClipsmithError when MPI is not to be had; it says how to install it */
  static async open(
    place: Place,
    launcher: Launcher,
    { waitLimitSeconds = 600, largestCount = LARGEST_COUNT }: MpiOptions = {},
  ): Promise<MpiCommunicator> {
    const koffi = await loadKoffi();
    for (const [name, value] of Object.entries(settings)) process.env[name] ??= value;
    const signals = new Int32Array(new SharedArrayBuffer(12));
    const libraries = libraryCandidates(launcher);
    const workerData: MpiThreadData = {
      ...{ place, launcher, libraries, waitLimitSeconds, largestCount, signals },
    };
    const worker = new Worker(new URL("./mpi-worker.js", import.meta.url), {
      workerData,
      // Some options of the process, --input-type for one, stop a worker from starting.
      execArgv: [],
    });
    const { version, peers } = await started(worker, place, waitLimitSeconds);
    if (place.rank === 0) announce(version, peers);
    // Open MPI's mpirun and srun name the rank that was killed.
    const witness = launcher === "MPICH" ? await callWitness(place.rank, peers) : undefined;
    return new MpiCommunicator(place, worker, signals, koffi, peers, witness);
  }

  private constructor(
    { rank, size }: Place,
    worker: Worker,
    signals: Int32Array,
    { address, load }: Awaited<ReturnType<typeof loadKoffi>>,
    peers: readonly Peer[],
    witness: Socket | undefined,
  ) {
    this.rank = rank;
    this.size = size;
    this.#worker = worker;
    this.#signals = signals;
    this.#addressOf = address;
    this.#exitNow = load(null).func("void _exit(int status)");
    this.#peers = peers;
    this.#witness = witness;
    worker.on("message", (reply: Extract<MpiReply, { id: number }>) => {
      this.#waiting.get(reply.id)!.resolve(reply.gathered);
      this.#waiting.delete(reply.id);
      if (this.#waiting.size === 0) worker.unref();
    });
    worker.on("error", (error) => this.#fail(error));
    worker.unref();
    process.on("uncaughtExceptionMonitor", this.#onUncaught);
    process.on("exit", this.#onExit);
  }

  async allGather<T extends Values>(values: T): Promise<Gathered<T>> {
    return (await this.#ask("allGather", values)) as Gathered<T>;
  }

  async allReduce(values: Float32Array | Float64Array): Promise<void> {
    await this.#ask("allReduce", values);
  }

  async broadcast(values: Values, root: number): Promise<void> {
    if (!Number.isInteger(root) || root < 0 || root >= this.size)
      throw new RangeError(`broadcast: there is no rank ${root} of ${this.size}`);
    await this.#ask("broadcast", values, root);
  }

  async barrier(): Promise<void> {
    await this.#ask("barrier");
  }

  atWork(): void {
    Atomics.add(this.#signals, 2, 1);
  }

  close(): Promise<void> {
    this.#closing ??= this.#ask("close").then(() => this.#leave());
    return this.#closing;
  }

  abort(reason: string): never {
    tell(`${this.#name}: ${reason}`);
    return this.#endAll(1);
  }

  get #name(): string {
    return nameOf(this.rank, this.#peers);
  }

  #ask(kind: Operation["kind"], values?: Values, root = 0): Promise<Gathered<Values> | undefined> {
    const operation: Operation = {
      kind,
      type: values ? dataTypeOf(values) : "uint8",
      count: values?.length ?? 0,
      root,
      address: values?.length ? this.#addressOf(values) : 0n,
    };
    return new Promise((resolve, reject) => {
      const failure = this.#closing ? new Error("Communicator: used after close()") : this.#failure;
      if (failure) return reject(failure);
      const id = this.#asked++;
      this.#waiting.set(id, { values, resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage({ id, operation } satisfies MpiRequest);
      this.#wake();
    });
  }

  #wake(): void {
    Atomics.add(this.#signals, 0, 1);
    Atomics.notify(this.#signals, 0);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }

  /** All ranks have come to the end. MPI_Finalize may not return: MPICH 4.0's over TCP, one time in ten. */
  async #leave(): Promise<void> {
    if (this.#witness) dismissWitness(this.rank, this.#peers);
    this.#witness?.destroy();
    process.off("uncaughtExceptionMonitor", this.#onUncaught);
    process.off("exit", this.#onExit);
    const ended = new Promise<void>((resolve) => {
      if (this.#worker.threadId < 0) resolve();
      this.#worker.once("exit", () => resolve());
    });
    this.#worker.ref();
    if (await isSoon(ended, FINALIZE_MS)) return;
    this.#worker.unref();
    process.on("exit", this.#onStuckExit);
  }

  /** Node would wait for the thread. */
  readonly #onStuckExit = (status: number): void => {
    Atomics.wait(this.#signals, 1, 0, LAST_MS);
    this.#exitNow(status);
  };

  /** Node would tell it after `exit`, which is too late. */
  readonly #onUncaught = (error: Error): void => tell(`${this.#name}: ${error.stack ?? error}`);

  /** A launcher need not end the others when one rank ends, and some take it for success. */
  readonly #onExit = (status: number): void => {
    tell(
      status === 0
        ? `${this.#name} has ended without closing its communicator, and the run with it`
        : `${this.#name} has failed (exit status ${status}), and the run with it`,
    );
    process.exitCode = status || 1;
    this.#endAll(status || 1);
  };

  /** Has the thread end all ranks, and waits for it to end this one. */
  #endAll(status: number): never {
    Atomics.store(this.#signals, 1, status);
    this.#wake();
    Atomics.wait(this.#signals, 1, status, ABORT_SECONDS * 1000);
    // The thread is stuck in MPI; nothing else would end it.
    process.kill(process.pid, "SIGKILL");
    throw new Error("unreachable");
  }
}

/** Whether a promise is settled within a time. */
async function isSoon(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const soon = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return soon;
}

/** The thread's first message. MPI starts when all ranks are there. */
async function started(worker: Worker, { rank, size }: Place, waitLimitSeconds: number) {
  const limitSeconds = Math.max(waitLimitSeconds, SHORTEST_START_SECONDS);
  const reply = await new Promise<MpiReply>((resolve, reject) => {
    const timer = setTimeout(() => {
      tell(
        `rank ${rank} of ${size}: MPI has not started within ${limitSeconds} s. Either some ranks did not get ` +
          "this far, or the hosts cannot reach each other.",
      );
      // The thread is inside MPI, which nothing else interrupts.
      process.kill(process.pid, "SIGKILL");
    }, limitSeconds * 1000);
    worker.once("message", resolve);
    worker.once("error", reject);
    for (const event of ["message", "error"]) worker.once(event, () => clearTimeout(timer));
  });
  worker.removeAllListeners("error");
  if ("peers" in reply) return reply;
  if ("message" in reply && reply.isClipsmith) throw new ClipsmithError(reply.message);
  throw new Error("message" in reply ? reply.message : "MpiCommunicator: no start");
}

/** Says which process is which rank. */
function announce(version: string, peers: readonly Peer[]): void {
  const hosts = new Map<string, string[]>();
  for (const [rank, { host, process }] of peers.entries()) {
    const words = hosts.get(host) ?? [];
    hosts.set(host, words);
    words.push(`${rank} is ${process}`);
  }
  const lines = [...hosts].map(([host, words]) => `\n  on ${host}: rank ${words.join(", ")}`);
  tell(`${peers.length} ranks over ${version}, by process${lines.join("")}`);
}
