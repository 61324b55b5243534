import type { LibraryHandle } from "koffi";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { type Family, familiesOf, installHint } from "./mpi-library.js";
import type { DataType } from "./operations.js";
import type { Launcher } from "./place.js";

/** Loaded only where it is needed: it is an optional dependency. */
export async function loadKoffi(): Promise<typeof import("koffi")> {
  try {
    return await import("koffi");
  } catch (error) {
    throw new ClipsmithError(
      "Ranks talk to each other over MPI, and the package koffi, which calls it, cannot be loaded. " +
        `Install it with: npm install koffi (${messageOf(error)})`,
    );
  }
}

/** Something of MPI's: an address in Open MPI, a 32-bit number in MPICH. */
type Handle = bigint | number;

interface Handles {
  readonly world: Handle;
  readonly types: Readonly<Record<DataType, Handle>>;
  readonly sum: Handle;
  /** Errors are returned; otherwise MPI ends the process with a message of its own. */
  readonly errorsReturn: Handle;
  readonly inPlace: bigint;
  readonly anySource: number;
}

/** Numbers of MPICH's mpi.h, and of all that keep its binary interface: Intel MPI, MVAPICH, Cray. */
const mpichHandles: Handles = {
  world: 0x44000000,
  types: { float32: 0x4c00040a, float64: 0x4c00080b, int32: 0x4c000405, uint8: 0x4c000102 },
  sum: 0x58000003,
  errorsReturn: 0x54000001,
  inPlace: 0xffffffffffffffffn,
  anySource: -2,
};

/** Open MPI's mpi.h has addresses of variables. */
function openMpiHandles(library: LibraryHandle): Handles {
  const address = (name: string): Handle => library.symbol(name);
  return {
    world: address("ompi_mpi_comm_world"),
    types: {
      float32: address("ompi_mpi_float"),
      float64: address("ompi_mpi_double"),
      int32: address("ompi_mpi_int"),
      uint8: address("ompi_mpi_unsigned_char"),
    },
    sum: address("ompi_mpi_op_sum"),
    errorsReturn: address("ompi_mpi_errors_return"),
    inPlace: 1n,
    anySource: -1,
  };
}

/** Memory of this process: an array, or the address of one that another thread keeps alive. */
export type Memory = bigint | ArrayBufferView;

type Argument = Memory | number | null;

/** A function that throws what MPI says of an error. */
type Call = (...values: readonly Argument[]) => void;

/** Longest text that either library returns. */
const MAX_TEXT = 8192;
const FUNNELED = 1;
/** More than the 20 or 24 bytes of a status, which nothing here reads. */
const STATUS_BYTES = 64;

/** The functions needed here, in the words of mpi.h. */
function declare(library: LibraryHandle, family: Family) {
  const handle = family === "Open MPI" ? "void *" : "int ";
  const raw = (prototype: string): ((...values: readonly Argument[]) => number) =>
    library.func(`int ${prototype.replaceAll(/\b(Comm|Type|Op|Errhandler) /g, handle)}`);
  const errorString = raw("MPI_Error_string(int code, void *text, void *length)");
  const checked = (prototype: string): Call => {
    const call = raw(prototype);
    return (...values) => {
      const code = call(...values);
      if (code === 0) return;
      const text = new Uint8Array(MAX_TEXT);
      const length = new Int32Array(1);
      errorString(code, text, length);
      const [name] = prototype.split("(");
      throw new Error(`${name}: ${Buffer.from(text).toString("utf8", 0, length[0])}`);
    };
  };
  return {
    init: checked("MPI_Init_thread(void *argc, void *argv, int required, void *provided)"),
    setErrhandler: checked("MPI_Comm_set_errhandler(Comm comm, Errhandler handler)"),
    finalize: checked("MPI_Finalize()"),
    abort: checked("MPI_Abort(Comm comm, int code)"),
    rank: checked("MPI_Comm_rank(Comm comm, void *rank)"),
    size: checked("MPI_Comm_size(Comm comm, void *size)"),
    allReduce: checked(
      "MPI_Iallreduce(void *from, void *to, int count, Type type, Op op, Comm comm, void *request)",
    ),
    allGather: checked(
      "MPI_Iallgatherv(void *from, int count, Type fromType, " +
        "void *to, void *counts, void *displacements, Type toType, Comm comm, void *request)",
    ),
    broadcast: checked(
      "MPI_Ibcast(void *data, int count, Type type, int root, Comm comm, void *request)",
    ),
    test: checked("MPI_Test(void *request, void *flag, void *status)"),
    send: checked(
      "MPI_Isend(void *data, int count, Type type, int to, int tag, Comm comm, void *request)",
    ),
    probe: checked("MPI_Iprobe(int from, int tag, Comm comm, void *flag, void *status)"),
    receive: checked(
      "MPI_Recv(void *data, int count, Type type, int from, int tag, Comm comm, void *status)",
    ),
  };
}

/** An operation under way. */
export class Request {
  /** Room for either library's handle. */
  readonly handle = new BigUint64Array(1);
  /** What MPI reads or writes meanwhile: arrays stay alive as long as this. */
  readonly memory: readonly Memory[];

  constructor(...memory: readonly Memory[]) {
    this.memory = memory;
  }
}

/**
 * An MPI library. What is called with an address starts a transfer and returns; the memory there has to stay
 * alive and untouched until {@link isDone}. All is to be called by the thread that called `init`.
 */
export class Mpi {
  /** As "Open MPI v4.1.4" or "MPICH 4.0.2". */
  readonly version: string;
  readonly family: Family;
  readonly #handles: Handles;
  readonly #calls: ReturnType<typeof declare>;
  readonly #flag = new Int32Array(1);
  readonly #status = new Uint8Array(STATUS_BYTES);

  /**
   * The first library of `candidates` that can be loaded and belongs to the launcher.
   *
   * @throws ClipsmithError that says how to install one, if there is none
   */
  static async load(candidates: readonly string[], launcher: Launcher): Promise<Mpi> {
    const koffi = await loadKoffi();
    const failures = new Set<string>();
    for (const path of candidates) {
      try {
        // Open MPI's plug-ins look for the library's symbols among the global ones.
        const mpi = new Mpi(koffi.load(path, { global: true }));
        if (familiesOf(launcher).includes(mpi.family)) return mpi;
        failures.add(`${path}: it is ${mpi.version}`);
      } catch (error) {
        failures.add(`${path}: ${messageOf(error)}`);
      }
    }
    throw new ClipsmithError(
      `${launcher} started this process, but no MPI library that belongs to it could be loaded. ` +
        `${installHint(launcher)}\nTried:\n  ${[...failures].join("\n  ")}`,
    );
  }

  private constructor(library: LibraryHandle) {
    this.version = versionOf(library);
    this.family = familyOf(this.version);
    this.#calls = declare(library, this.family);
    this.#handles = this.family === "Open MPI" ? openMpiHandles(library) : mpichHandles;
  }

  /** Starts MPI for this thread. Returns when all ranks have called it. */
  init(): void {
    this.#calls.init(null, null, FUNNELED, new Int32Array(1));
    this.#calls.setErrhandler(this.#handles.world, this.#handles.errorsReturn);
  }

  finalize(): void {
    this.#calls.finalize();
  }

  /** Ends the processes of all ranks. */
  abort(code: number): void {
    this.#calls.abort(this.#handles.world, code);
  }

  get rank(): number {
    const value = new Int32Array(1);
    this.#calls.rank(this.#handles.world, value);
    return value[0]!;
  }

  get size(): number {
    const value = new Int32Array(1);
    this.#calls.size(this.#handles.world, value);
    return value[0]!;
  }

  /** Sums `count` elements over the ranks, in place. */
  allReduce(address: bigint, count: number, type: DataType): Request {
    const request = new Request();
    const { inPlace, types, sum, world } = this.#handles;
    this.#calls.allReduce(inPlace, address, count, types[type], sum, world, request.handle);
    return request;
  }

  /** `count` elements of this rank to all, `counts[rank]` of each one to `displacements[rank]` behind `to`. */
  allGather(
    from: Memory,
    count: number,
    to: Memory,
    counts: Int32Array,
    displacements: Int32Array,
    type: DataType,
  ): Request {
    const request = new Request(from, to, counts, displacements);
    const { types, world } = this.#handles;
    const sent = [from, count, types[type]] as const;
    const received = [to, counts, displacements, types[type]] as const;
    this.#calls.allGather(...sent, ...received, world, request.handle);
    return request;
  }

  broadcast(address: bigint, count: number, type: DataType, root: number): Request {
    const request = new Request();
    const { types, world } = this.#handles;
    this.#calls.broadcast(address, count, types[type], root, world, request.handle);
    return request;
  }

  /** Whether a request is done. MPI moves data only while it is asked. */
  isDone(request: Request): boolean {
    this.#calls.test(request.handle, this.#flag, this.#status);
    return this.#flag[0] !== 0;
  }

  /** Sends a short message without waiting for it to arrive. */
  send(message: Int32Array, to: number, tag: number): Request {
    const request = new Request(message);
    const { types, world } = this.#handles;
    this.#calls.send(message, message.length, types.int32, to, tag, world, request.handle);
    return request;
  }

  /** Takes a message that has arrived, if there is one. */
  receive(message: Int32Array, tag: number): boolean {
    const { types, world, anySource } = this.#handles;
    this.#calls.probe(anySource, tag, world, this.#flag, this.#status);
    if (this.#flag[0] === 0) return false;
    this.#calls.receive(
      ...[message, message.length, types.int32],
      ...[anySource, tag, world, this.#status],
    );
    return true;
  }
}

/** The first line of what the library says of itself, which it does without being started. */
function versionOf(library: LibraryHandle): string {
  const text = new Uint8Array(MAX_TEXT);
  const length = new Int32Array(1);
  library.func("int MPI_Get_library_version(void *text, void *length)")(text, length);
  const [line] = Buffer.from(text).toString("utf8", 0, length[0]).split(/[\n,]/);
  return line!.replace(/\s*Version:\s*/, " ").trim();
}

function familyOf(version: string): Family {
  if (/^Open MPI/.test(version)) return "Open MPI";
  if (/MPICH|Intel\(R\) MPI|MVAPICH/.test(version)) return "MPICH";
  throw new Error(`${version} has neither Open MPI's nor MPICH's binary interface`);
}
