/** The thread behind MpiCommunicator: owns MPI, and carries out operations one after another. */
import { hostname } from "node:os";
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { ClipsmithError, messageOf } from "../util/errors.js";
import type { Gathered } from "./communicator.js";
import { loadKoffi, type Memory, Mpi, type Request } from "./mpi.js";
import type { MpiReply, MpiRequest, MpiThreadData } from "./mpi-communicator.js";
import {
  agree,
  bytesOf,
  type DataType,
  describe,
  fromRecord,
  newValues,
  type Operation,
  toRecord,
  type Values,
} from "./operations.js";
import { nameOf, type Peer, type Peers } from "./peers.js";
import { RollCall } from "./roll-call.js";
import { LONGEST_STEP_SECONDS, Silence } from "./silence.js";
import { tell } from "./tell.js";
import { dismissWitness } from "./witness.js";

type Koffi = Awaited<ReturnType<typeof loadKoffi>>;

const data = workerData as MpiThreadData;
const port = parentPort!;

/** Without work it looks this often whether another rank asks. */
const IDLE_MS = 100;
/** Looks at a transfer before the first rest. A look costs well under a microsecond. */
const LOOKS = 200;
/** Rests between looks. They grow, so that waiting costs nothing and a short transfer is not delayed. */
const [SHORTEST_REST_MS, LONGEST_REST_MS] = [0.05, 1];
const REST_GROWTH = 1.1;
/** A look that took this long has moved data, and the next will too. */
const MOVED_MS = 0.02;
/** Time for ranks to answer. */
const ANSWER_SECONDS = Math.min(5, data.waitLimitSeconds);
/** For the launcher to read why the run ends. */
const LAST_WORDS_MS = 300;
/** Names of missing ranks in a message. */
const MOST_NAMES = 8;

class MpiThread {
  readonly #mpi: Mpi;
  readonly #koffi: Koffi;
  readonly #queue: MpiRequest[] = [];
  /** This rank as a {@link Peer}, in JSON. A field, for as long as MPI reads it. */
  readonly #self = Buffer.from(JSON.stringify({ host: hostname(), process: process.pid }));
  readonly #peers: Peers;
  readonly #rollCall: RollCall;
  readonly #silence = new Silence(data.signals);
  /** The number of the operation that was begun last. The first one is not the program's: see {@link meet}. */
  #begun = -1;
  readonly #bed = new Int32Array(new SharedArrayBuffer(4));

  constructor(mpi: Mpi, koffi: Koffi) {
    const { rank, size } = data.place;
    this.#mpi = mpi;
    this.#koffi = koffi;
    this.#peers = new Array(size).fill(undefined);
    this.#rollCall = new RollCall(mpi, rank, this.#peers, data.waitLimitSeconds);
  }

  /** Tells all ranks of each other. */
  meet(): readonly Peer[] {
    const address = this.#koffi.address(this.#self);
    const all = this.#gather({
      ...{ kind: "allGather", type: "uint8", count: this.#self.length, root: 0, address },
    });
    let end = 0;
    const peers = all.counts.map((count): Peer => {
      end += count;
      return JSON.parse(Buffer.from(all.values.buffer, end - count, count).toString());
    });
    return Object.assign(this.#peers, peers);
  }

  /** Works until the communicator is closed. */
  run(): void {
    for (let kind: Operation["kind"] | undefined; kind !== "close"; ) {
      const seen = Atomics.load(data.signals, 0);
      this.#attend();
      const request = this.#queue.shift();
      if (!request) {
        Atomics.wait(data.signals, 0, seen, IDLE_MS);
        continue;
      }
      kind = request.operation.kind;
      this.#carryOut(request);
    }
  }

  /** Ends all ranks. */
  fail(message: string): never {
    tell(message);
    this.#end(1);
  }

  #end(status: number): never {
    const peers = this.#peers.filter((peer) => peer !== undefined);
    if (peers.length === this.#peers.length) dismissWitness(data.place.rank, peers);
    // MPICH's mpirun drops what it has not read by then.
    this.#rest(LAST_WORDS_MS);
    this.#mpi.abort(status);
    process.kill(process.pid, "SIGKILL");
    throw new Error("unreachable");
  }

  #carryOut({ id, operation }: MpiRequest): void {
    if (operation.kind === "allGather") {
      const gathered = this.#gather(operation);
      const reply: MpiReply = { id, gathered };
      port.postMessage(reply, [gathered.values.buffer as ArrayBuffer]);
      return;
    }
    this.#agree(operation);
    const { kind, count } = operation;
    if (kind === "allReduce" && count > 0 && count < data.place.size) this.#sumFew(operation);
    else this.#transfer(operation);
    port.postMessage({ id } satisfies MpiReply);
    if (kind === "close") this.#mpi.finalize();
  }

  /**
   * Waits for all ranks to begin the operation, and makes sure that it is the same one. After that data moves
   * without waiting.
   *
   * @returns each rank's elements
   */
  #agree(operation: Operation): number[] {
    this.#begun++;
    this.#silence.end();
    const record = toRecord(operation);
    const records = this.#gatherAlike(record, record.length, "float64", operation) as Float64Array;
    const all = Array.from({ length: data.place.size }, (_, rank) =>
      fromRecord(records.subarray(rank * record.length, (rank + 1) * record.length)),
    );
    const other = all.findIndex((theirs) => !agree(theirs, all[0]!));
    if (other < 0) return all.map(({ count }) => count);
    // All ranks see it; one is enough to say it.
    if (data.place.rank > 0) this.#rest(2 * ANSWER_SECONDS * 1000);
    return this.fail(
      `${nameOf(other, this.#peers)} is at ${describe(all[other]!)} where rank 0 is at ${describe(all[0]!)} ` +
        `(operation ${this.#begun}): the ranks do not run the same program with the same options`,
    );
  }

  /** Moves the elements of an operation other than allGather, as many at a time as MPI can count. */
  #transfer(operation: Operation): void {
    const { kind, type, root, address, count } = operation;
    for (let start = 0; start < count; start += data.largestCount) {
      const part = Math.min(count - start, data.largestCount);
      const at = address + BigInt(start * bytesOf(type));
      const request =
        kind === "allReduce"
          ? this.#mpi.allReduce(at, part, type)
          : this.#mpi.broadcast(at, part, type, root);
      this.#finish(request, operation);
    }
  }

  /** Fewer numbers than ranks: Open MPI would pass them from rank to rank, around all of them, and once more. */
  #sumFew(operation: Operation): void {
    const { type, count, address } = operation;
    const all = this.#gatherAlike(address, count, type, operation);
    const sums = newValues(type, count);
    for (let i = 0; i < all.length; i++) sums[i % count]! += all[i]!;
    const own = new Uint8Array(this.#koffi.view(address, sums.byteLength));
    own.set(new Uint8Array(sums.buffer));
  }

  /** As many elements of every rank, in the order of ranks. */
  #gatherAlike(from: Memory, count: number, type: DataType, operation: Operation): Values {
    const { size } = data.place;
    const all = newValues(type, count * size);
    const counts = new Int32Array(size).fill(count);
    const starts = counts.map((count, rank) => count * rank);
    this.#finish(this.#mpi.allGather(from, count, all, counts, starts, type), operation);
    return all;
  }

  #gather(operation: Operation): Gathered<Values> {
    const counts = this.#agree(operation);
    const { type, count, address } = operation;
    const starts: number[] = [];
    let total = 0;
    for (const count of counts) {
      starts.push(total);
      total += count;
    }
    const values = newValues(type, total);
    if (total === 0) return { values, counts };
    const target = this.#koffi.address(values);
    if (total <= data.largestCount) {
      const [lengths, displacements] = [Int32Array.from(counts), Int32Array.from(starts)];
      const request = this.#mpi.allGather(address, count, target, lengths, displacements, type);
      this.#finish(request, operation);
      return { values, counts };
    }
    // MPI's displacements are 32-bit numbers too. So each rank in turn sends its part to all others.
    if (count > 0) {
      const at = starts[data.place.rank]! * bytesOf(type);
      const own = new Uint8Array(this.#koffi.view(address, count * bytesOf(type)));
      new Uint8Array(values.buffer).set(own, at);
    }
    for (const [root, count] of counts.entries()) {
      const at = target + BigInt(starts[root]! * bytesOf(type));
      this.#transfer({ ...operation, kind: "broadcast", address: at, count, root });
    }
    return { values, counts };
  }

  /** Waits for a transfer. Ends the run if ranks do not come within the limit, nor give signs of life. */
  #finish(request: Request, operation: Operation): void {
    let limit = data.waitLimitSeconds;
    let waited = 0;
    let asked: number | undefined;
    let looks = 0;
    let rest = SHORTEST_REST_MS;
    let last = performance.now();
    while (true) {
      const before = performance.now();
      if (this.#mpi.isDone(request)) return;
      const now = performance.now();
      if (now - before > MOVED_MS) {
        looks = 0;
        rest = SHORTEST_REST_MS;
      }
      if (++looks < LOOKS) continue;
      waited += Math.min((now - last) / 1000, LONGEST_STEP_SECONDS);
      last = now;
      const asker = this.#attend();
      if (asker < (asked === undefined ? Number.POSITIVE_INFINITY : data.place.rank)) {
        // Another one has waited longer. It is enough if one tells.
        limit = Math.max(limit, waited + 2 * ANSWER_SECONDS);
        asked = undefined;
      }
      if (asked === undefined && waited > limit) {
        this.#rollCall.ask(this.#begun, this.#silence.look());
        asked = waited;
      }
      if (asked !== undefined && (this.#rollCall.isComplete || waited > asked + ANSWER_SECONDS)) {
        const patience = this.#rollCall.patience(this.#begun);
        if (patience <= 0) this.#giveUp(operation, waited);
        limit = waited + Math.max(patience, ANSWER_SECONDS);
        asked = undefined;
      }
      this.#rest(rest);
      rest = Math.min(rest * REST_GROWTH, LONGEST_REST_MS);
    }
  }

  #giveUp(operation: Operation, waited: number): never {
    const missing = this.#rollCall.missing(describe(operation), this.#begun, waited);
    const more = missing.length - MOST_NAMES;
    const lines =
      missing.length > 0
        ? missing.slice(0, MOST_NAMES).concat(more > 0 ? `${more} more have not either` : [])
        : [
            `all ranks are in operation ${this.#begun} (${describe(operation)}) for ${Math.round(waited)} s, ` +
              "but its data does not arrive: look at the network between the hosts",
          ];
    const name = nameOf(data.place.rank, this.#peers);
    lines.push(`${name} ends the run: it has waited longer than ${data.waitLimitSeconds} s`);
    return this.fail(lines.join("\nclipsmith: "));
  }

  /**
   * Takes what the program wants, and answers other ranks.
   *
   * @returns the lowest rank that asks which ranks are missing; Infinity if none does
   */
  #attend(): number {
    const status = Atomics.load(data.signals, 1);
    if (status !== 0) this.#end(status);
    for (let got = receiveMessageOnPort(port); got; got = receiveMessageOnPort(port)) {
      this.#queue.push(got.message as MpiRequest);
    }
    return this.#rollCall.attend(this.#begun, this.#silence.look());
  }

  #rest(ms: number): void {
    Atomics.wait(this.#bed, 0, 0, ms);
  }
}

/** @throws ClipsmithError when there is no MPI, or another one than the launcher's */
async function start(): Promise<{ mpi: Mpi; koffi: Koffi }> {
  const koffi = await loadKoffi();
  const mpi = await Mpi.load(data.libraries, data.launcher);
  mpi.init();
  const { rank, size } = data.place;
  if (mpi.rank === rank && mpi.size === size) return { mpi, koffi };
  const seen = `rank ${mpi.rank} of ${mpi.size}`;
  mpi.finalize();
  throw new ClipsmithError(
    `The launcher (${data.launcher}) calls this process rank ${rank} of ${size}, but ${mpi.version} calls it ` +
      `${seen}: the library does not belong to the launcher. CLIPSMITH_MPI names another one.`,
  );
}

async function main(): Promise<void> {
  let thread: MpiThread;
  try {
    const { mpi, koffi } = await start();
    thread = new MpiThread(mpi, koffi);
    port.postMessage({ version: mpi.version, peers: thread.meet() } satisfies MpiReply);
  } catch (error) {
    const isClipsmith = error instanceof ClipsmithError;
    port.postMessage({ message: messageOf(error), isClipsmith } satisfies MpiReply);
    return;
  }
  try {
    thread.run();
  } catch (error) {
    thread.fail(messageOf(error));
  }
}

await main();
