import { ClipsmithError, messageOf } from "../util/errors.js";

/** A call that a pickle may ask for: what Python would have called, done here in its place. */
export type PickleCall = (args: readonly unknown[]) => unknown;

/** What a pickle may refer to beside plain values. */
export interface PickleEnvironment {
  /** What a name of Python's stands for: a {@link PickleCall}, or any other value. Throws to refuse it. */
  readonly global: (module: string, name: string) => unknown;
  /** What stands for something that the pickle keeps outside itself. */
  readonly persistentLoad: (id: unknown) => unknown;
}

/** Stands on the stack where a tuple, a list's items or a dict's items begin. */
const MARK = Symbol("mark");

/**
 * Reads a Python pickle (protocols 2 to 5, https://docs.python.org/3/library/pickletools.html) and runs
 * nothing of it: calls reach only what `global` gives. A dict becomes a Map, a list or tuple an array, None
 * null, an integer past 2^53 a bigint.
 *
 * @param where names the file in errors
 * @throws ClipsmithError if the pickle is damaged, and what `environment` throws
 */
export function unpickle(
  where: string,
  pickle: Uint8Array,
  environment: PickleEnvironment,
): unknown {
  try {
    return new Machine(pickle, environment).run();
  } catch (error) {
    if (error instanceof ClipsmithError) throw error;
    throw new ClipsmithError(
      `${where}: its pickle is damaged: ${messageOf(error)}. Copy or download the file again.`,
      { cause: error },
    );
  }
}

/** Runs a pickle's operations one after the other, on a stack and a memo. */
class Machine {
  readonly #bytes: Buffer;
  readonly #environment: PickleEnvironment;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  #at = 0;

  constructor(pickle: Uint8Array, environment: PickleEnvironment) {
    this.#bytes = Buffer.from(pickle.buffer, pickle.byteOffset, pickle.byteLength);
    this.#environment = environment;
  }

  run(): unknown {
    for (;;) {
      const operation = String.fromCharCode(this.#take(1).readUInt8());
      if (operation === ".") return this.#pop();
      this.#step(operation);
    }
  }

  /** One operation, by its letter in pickletools. */
  #step(operation: string): void {
    const stack = this.#stack;
    switch (operation) {
      case "\x80": // PROTO
        this.#take(1);
        break;
      case "\x95": // FRAME
        this.#take(8);
        break;

      case "N":
        stack.push(null);
        break;
      case "\x88":
        stack.push(true);
        break;
      case "\x89":
        stack.push(false);
        break;
      case "K":
        stack.push(this.#length(1));
        break;
      case "M":
        stack.push(this.#length(2));
        break;
      case "J":
        stack.push(this.#take(4).readInt32LE());
        break;
      case "\x8a":
        stack.push(integer(this.#take(this.#length(1))));
        break;
      case "\x8b":
        stack.push(integer(this.#take(this.#length(4))));
        break;
      case "G":
        stack.push(this.#take(8).readDoubleBE());
        break;
      case "\x8c":
        stack.push(this.#take(this.#length(1)).toString("utf8"));
        break;
      case "X":
        stack.push(this.#take(this.#length(4)).toString("utf8"));
        break;
      case "\x8d":
        stack.push(this.#take(this.#length(8)).toString("utf8"));
        break;
      case "C":
        stack.push(Uint8Array.from(this.#take(this.#length(1))));
        break;
      case "B":
        stack.push(Uint8Array.from(this.#take(this.#length(4))));
        break;
      case "\x8e":
        stack.push(Uint8Array.from(this.#take(this.#length(8))));
        break;

      case "(":
        stack.push(MARK);
        break;
      case "0":
        this.#pop();
        break;
      case "1":
        this.#popMarked();
        break;
      case "2":
        stack.push(this.#top());
        break;
      case ")":
      case "]":
        stack.push([]);
        break;
      case "}":
        stack.push(new Map());
        break;
      case "t":
      case "l":
        stack.push(this.#popMarked());
        break;
      case "d":
        stack.push(setItems(new Map(), this.#popMarked()));
        break;
      case "\x85":
      case "\x86":
      case "\x87":
        stack.push(this.#popCount(operation.charCodeAt(0) - 0x84));
        break;
      case "a":
        this.#append(this.#popCount(1));
        break;
      case "e":
        this.#append(this.#popMarked());
        break;
      case "s":
        this.#setItems(this.#popCount(2));
        break;
      case "u":
        this.#setItems(this.#popMarked());
        break;

      case "q":
        this.#memo.set(this.#length(1), this.#top());
        break;
      case "r":
        this.#memo.set(this.#length(4), this.#top());
        break;
      case "\x94":
        this.#memo.set(this.#memo.size, this.#top());
        break;
      case "h":
        stack.push(this.#recall(this.#length(1)));
        break;
      case "j":
        stack.push(this.#recall(this.#length(4)));
        break;

      case "c": {
        const module = this.#line();
        stack.push(this.#environment.global(module, this.#line()));
        break;
      }
      case "\x93": {
        const [module, name] = this.#popCount(2);
        stack.push(this.#environment.global(String(module), String(name)));
        break;
      }
      case "R": {
        const [call, args] = this.#popCount(2);
        if (typeof call !== "function" || !Array.isArray(args)) {
          throw new Error("it calls what is no function");
        }
        stack.push((call as PickleCall)(args));
        break;
      }
      case "b":
        // Attributes of a dict, such as the versions of modules in a state dict, hold no tensor.
        this.#pop();
        if (!(this.#top() instanceof Map)) throw new Error("it sets attributes of what is no dict");
        break;
      case "Q":
        stack.push(this.#environment.persistentLoad(this.#pop()));
        break;

      default:
        throw new Error(
          `operation 0x${operation.charCodeAt(0).toString(16)} at byte ${this.#at - 1} is not one of plain data`,
        );
    }
  }

  #take(count: number): Buffer {
    const end = this.#at + count;
    if (end > this.#bytes.length) throw new Error("it ends too early");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  /** A number of 1, 2, 4 or 8 bytes without sign. */
  #length(bytes: 1 | 2 | 4 | 8): number {
    const taken = this.#take(bytes);
    return bytes === 8 ? Number(taken.readBigUInt64LE()) : taken.readUIntLE(0, bytes);
  }

  #line(): string {
    const end = this.#bytes.indexOf("\n", this.#at);
    if (end < 0) throw new Error("it ends too early");
    const line = this.#bytes.toString("utf8", this.#at, end);
    this.#at = end + 1;
    return line;
  }

  #recall(place: number): unknown {
    const value = this.#memo.get(place);
    if (value === undefined) throw new Error("it recalls what it has not kept");
    return value;
  }

  #top(): unknown {
    const value = this.#stack.at(-1);
    if (value === undefined || value === MARK) throw new Error("its stack is empty");
    return value;
  }

  #pop(): unknown {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popCount(count: number): unknown[] {
    return Array.from({ length: count }, () => this.#pop()).reverse();
  }

  #popMarked(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw new Error("its stack has no mark");
    return this.#stack.splice(mark).slice(1);
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw new Error("it appends to what is no list");
    for (const item of items) list.push(item);
  }

  #setItems(items: readonly unknown[]): void {
    const dict = this.#top();
    if (!(dict instanceof Map)) throw new Error("it sets items of what is no dict");
    setItems(dict, items);
  }
}

/** Sets key, value, key, value, ... */
function setItems(dict: Map<unknown, unknown>, items: readonly unknown[]): Map<unknown, unknown> {
  if (items.length % 2 !== 0) throw new Error("a dict has a key without a value");
  for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  return dict;
}

/** Little-endian, two's complement, of any length. */
function integer(bytes: Buffer): number | bigint {
  if (bytes.length === 0) return 0;
  const unsigned = BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
  const value = BigInt.asIntN(bytes.length * 8, unsigned);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
