import { ClipsmithError, messageOf } from "../util/errors.js";

/** A call that a pickle may ask for: what Python would have called, done here in its place. */
export type PickleCall = (args: readonly unknown[]) => unknown;

/**
 * A class, a function or an object of Python's that is not known here. Its name is kept and nothing else:
 * whatever a pickle calls it with, sets in it or appends to it is dropped, and the result is opaque too.
 */
export class Opaque {
  /** Of the class or function, such as `"argparse.Namespace"`. */
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** What an object becomes by its state, which Python sets after it has made the object. */
  build(_state: unknown): unknown {
    return this;
  }
}

/** What a pickle may refer to beside plain values. */
export interface PickleEnvironment {
  /** What a name of Python's stands for: a {@link PickleCall}, an {@link Opaque}, or any other value. */
  readonly global: (module: string, name: string) => unknown;
  /** What stands for something that the pickle keeps outside itself. */
  readonly persistentLoad: (id: unknown) => unknown;
}

/** Stands on the stack where a tuple, a list's items or a dict's items begin. */
const MARK = Symbol("mark");

/** Longest decimal number that Python reads, too, against absurd computations. */
const MAX_DIGITS = 4300;

/**
 * Reads a Python pickle (protocols 0 to 5, https://docs.python.org/3/library/pickletools.html) and runs
 * nothing of it: calls reach only what `global` gives. A dict becomes a Map; a list, tuple or set an array;
 * bytes a Uint8Array; None null; an integer past 2^53 a bigint.
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
  /** What objects that the memo holds became by their state. */
  readonly #built = new Map<unknown, unknown>();
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
      case "I":
      case "L":
        stack.push(decimal(this.#line()));
        break;
      case "F":
        stack.push(float(this.#line()));
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
      case "V":
        stack.push(rawUnescaped(this.#line("latin1")));
        break;
      // Python 2 tells no text from bytes.
      case "S":
        stack.push(unescaped(quoted(this.#line("latin1"))));
        break;
      case "T":
        stack.push(this.#take(this.#length(4)).toString("latin1"));
        break;
      case "U":
        stack.push(this.#take(this.#length(1)).toString("latin1"));
        break;
      case "C":
        stack.push(Uint8Array.from(this.#take(this.#length(1))));
        break;
      case "B":
        stack.push(Uint8Array.from(this.#take(this.#length(4))));
        break;
      case "\x8e":
      case "\x96":
        stack.push(Uint8Array.from(this.#take(this.#length(8))));
        break;

      case "(":
        stack.push(MARK);
        break;
      case "0":
        // Protocol 0 takes marks away in this way, too.
        if (stack.at(-1) === MARK) stack.pop();
        else this.#pop();
        break;
      case "1":
        this.#popMarked();
        break;
      case "2":
        stack.push(this.#top());
        break;
      case ")":
      case "]":
      case "\x8f": // a set
        stack.push([]);
        break;
      case "}":
        stack.push(new Map());
        break;
      case "t":
      case "l":
      case "\x91": // a frozenset
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
      case "\x90": // to a set
        this.#append(this.#popMarked());
        break;
      case "s":
        this.#setItems(this.#popCount(2));
        break;
      case "u":
        this.#setItems(this.#popMarked());
        break;

      case "p":
        this.#memo.set(this.#place(), this.#top());
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
      case "g":
        stack.push(this.#recall(this.#place()));
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
      case "\x82":
      case "\x83":
      case "\x84": {
        const code = this.#length((2 ** (operation.charCodeAt(0) - 0x82)) as 1 | 2 | 4);
        stack.push(new Opaque(`copyreg extension ${code}`));
        break;
      }
      case "R":
      case "\x81": {
        const [callee, args] = this.#popCount(2);
        stack.push(called(callee, args));
        break;
      }
      case "\x92": {
        const [callee, args, named] = this.#popCount(3);
        if (!(callee instanceof Opaque) && !(named instanceof Map && named.size === 0)) {
          throw new Error("it calls what takes no arguments by name");
        }
        stack.push(called(callee, args));
        break;
      }
      case "o": {
        const [callee, ...args] = this.#popMarked();
        stack.push(called(callee, args));
        break;
      }
      case "i": {
        const module = this.#line();
        const callee = this.#environment.global(module, this.#line());
        stack.push(called(callee, this.#popMarked()));
        break;
      }
      case "b": {
        const [object, state] = this.#popCount(2);
        stack.push(this.#build(object, state));
        break;
      }
      case "P":
        stack.push(this.#environment.persistentLoad(this.#line()));
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

  /** A place in the memo, as text. */
  #place(): number {
    const line = this.#line();
    if (!/^\d{1,15}$/.test(line)) throw new Error(`"${line}" is no place`);
    return Number(line);
  }

  #line(encoding: "utf8" | "latin1" = "utf8"): string {
    const end = this.#bytes.indexOf("\n", this.#at);
    if (end < 0) throw new Error("it ends too early");
    const line = this.#bytes.toString(encoding, this.#at, end);
    this.#at = end + 1;
    return line;
  }

  #recall(place: number): unknown {
    const value = this.#memo.get(place);
    if (value === undefined) throw new Error("it recalls what it has not kept");
    return this.#built.get(value) ?? value;
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

  #build(object: unknown, state: unknown): unknown {
    // Attributes of a dict, such as the versions of modules in a state dict, hold no tensor.
    if (object instanceof Map) return object;
    if (!(object instanceof Opaque)) throw new Error("it sets attributes of what has none");
    const built = object.build(state);
    if (built !== object) this.#built.set(object, built);
    return built;
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top();
    if (list instanceof Opaque) return;
    if (!Array.isArray(list)) throw new Error("it appends to what is no list");
    for (const item of items) list.push(item);
  }

  #setItems(items: readonly unknown[]): void {
    const dict = this.#top();
    if (dict instanceof Opaque) return;
    if (!(dict instanceof Map)) throw new Error("it sets items of what is no dict");
    setItems(dict, items);
  }
}

function called(callee: unknown, args: unknown): unknown {
  if (callee instanceof Opaque) return callee;
  if (typeof callee !== "function" || !Array.isArray(args)) {
    throw new Error("it calls what is no function");
  }
  return (callee as PickleCall)(args);
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

/** A number of protocol 0: `12`, or `12L` for a long one. `00` and `01` are booleans. */
function decimal(line: string): number | bigint | boolean {
  if (line === "00" || line === "01") return line === "01";
  const [, digits] = /^([+-]?\d+)L?$/.exec(line) ?? [];
  if (digits === undefined || digits.length > MAX_DIGITS) throw new Error("a number is none");
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
}

/** A number as Python's `repr` writes it. */
function float(line: string): number {
  const word = /^([+-]?)(inf|nan)$/.exec(line);
  if (word) return word[2] === "nan" ? Number.NaN : Number(`${word[1]}Infinity`);
  const number = Number(line);
  if (line.trim() === "" || Number.isNaN(number)) throw new Error("a number is none");
  return number;
}

/** What stands in the quotes of a string of protocol 0. */
function quoted(line: string): string {
  const quote = line[0];
  if (line.length < 2 || (quote !== "'" && quote !== '"') || !line.endsWith(quote)) {
    throw new Error("a string has no quotes");
  }
  return line.slice(1, -1);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/** Text from inside of the quotes. */
function unescaped(text: string): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|(.))/gs,
    (_, byte: string | undefined, letter: string) =>
      byte === undefined ? (ESCAPES[letter] ?? letter) : codePoint(byte),
  );
}

/** Text in Python's encoding raw-unicode-escape. */
function rawUnescaped(text: string): string {
  return text.replace(
    /\\(?:u([\da-fA-F]{4})|U([\da-fA-F]{8}))/g,
    (_, short?: string, long?: string) => codePoint(short ?? long!),
  );
}

function codePoint(hex: string): string {
  return String.fromCodePoint(Number.parseInt(hex, 16));
}
