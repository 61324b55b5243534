import { asFloat32 } from "./as-float32.js";
import { Opaque, type PickleCall } from "./pickle.js";
import type { Spend } from "./plain-values.js";
import type { SafetensorsDType } from "./safetensors-header.js";
import { isCounts, TorchStorage, TorchTensor } from "./torch-tensor.js";

/**
 * numpy's numbers, texts and arrays, as its versions 1 and 2 write them. An array of a dtype that tensors
 * have is a tensor whose numbers lie in the pickle; others are opaque.
 */
export function numpyGlobals(spend: Spend): ReadonlyMap<string, PickleCall> {
  return new Map<string, PickleCall>([
    ["numpy.dtype", ([code]) => dtypeOf(code)],
    ["numpy.core.multiarray.scalar", ([dtype, bytes]) => scalarOf(dtype, bytes, spend)],
    [
      "numpy.core.multiarray._reconstruct",
      ([type]) => (isNamed(type, "numpy.ndarray") ? new UnbuiltArray(spend) : opaque(type)),
    ],
    [
      "numpy.core.numeric._frombuffer",
      ([bytes, dtype, shape, order]) =>
        order === "C" || order === "F"
          ? arrayOf(dtype, shape, order === "F", bytes, spend)
          : new Opaque("numpy.ndarray"),
    ],
  ]);
}

/** Types of other packages, such as bfloat16, are no codes. */
function dtypeOf(code: unknown): Opaque {
  return typeof code === "string" ? new NumpyDtype(code, true) : new Opaque("numpy.dtype");
}

function isNamed(value: unknown, name: string): boolean {
  return value instanceof Opaque && value.name === name;
}

function opaque(value: unknown): Opaque {
  return value instanceof Opaque ? value : new Opaque("numpy.ndarray");
}

/** What numbers are, by numpy's code such as `f4`: a letter for the kind, and the bytes of each. */
class NumpyDtype extends Opaque {
  readonly code: string;
  readonly littleEndian: boolean;

  constructor(code: string, littleEndian: boolean) {
    super("numpy.dtype");
    this.code = code;
    this.littleEndian = littleEndian;
  }

  override build(state: unknown): NumpyDtype {
    return new NumpyDtype(this.code, !(Array.isArray(state) && state[1] === ">"));
  }
}

/** An array as it is made, empty, before its state says what is in it. */
class UnbuiltArray extends Opaque {
  readonly #spend: Spend;

  constructor(spend: Spend) {
    super("numpy.ndarray");
    this.#spend = spend;
  }

  override build(state: unknown): unknown {
    if (!Array.isArray(state)) throw new Error("it makes an array in an unknown way");
    // The oldest pickles have no number of the version in front.
    const [shape, dtype, isFortran, bytes] = state.slice(-4);
    return arrayOf(dtype, shape, isFortran === true, bytes, this.#spend);
  }
}

const dtypes: Readonly<Record<string, SafetensorsDType>> = {
  f8: "F64",
  f4: "F32",
  f2: "F16",
  i8: "I64",
  i4: "I32",
  i2: "I16",
  i1: "I8",
  u1: "U8",
  b1: "BOOL",
};

const scalars: Readonly<
  Record<string, (view: DataView, littleEndian: boolean) => number | bigint | boolean>
> = {
  f8: (view, little) => view.getFloat64(0, little),
  f4: (view, little) => view.getFloat32(0, little),
  f2: (view, little) =>
    asFloat32({ dtype: "F16", shape: [], data: Uint16Array.of(view.getUint16(0, little)) })[0]!,
  i8: (view, little) => narrowed(view.getBigInt64(0, little)),
  i4: (view, little) => view.getInt32(0, little),
  i2: (view, little) => view.getInt16(0, little),
  i1: (view) => view.getInt8(0),
  u8: (view, little) => narrowed(view.getBigUint64(0, little)),
  u4: (view, little) => view.getUint32(0, little),
  u2: (view, little) => view.getUint16(0, little),
  u1: (view) => view.getUint8(0),
  b1: (view) => view.getUint8(0) !== 0,
};

function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function scalarOf(dtype: unknown, value: unknown, spend: Spend): unknown {
  if (!(dtype instanceof NumpyDtype)) return new Opaque("numpy.generic");
  const { code, littleEndian } = dtype;
  const bytes = bytesOf(value, spend);
  const read = scalars[code];
  if (bytes !== undefined && read !== undefined) {
    if (bytes.length !== itemBytes(code)) throw new Error(`a number ${code} has not its bytes`);
    return read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), littleEndian);
  }
  return bytes !== undefined && code.startsWith("U")
    ? textOf(bytes, littleEndian, spend)
    : new Opaque(`numpy scalar of ${code}`);
}

function itemBytes(code: string): number {
  return Number(code.slice(1));
}

/** Python 2 wrote bytes as text. */
function bytesOf(value: unknown, spend: Spend): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== "string") return undefined;
  spend(value.length);
  return Uint8Array.from(Buffer.from(value, "latin1"));
}

/** Of UTF-32, filled up with zeros. */
function textOf(bytes: Uint8Array, littleEndian: boolean, spend: Spend): string {
  if (bytes.length % 4 !== 0) throw new Error("a text has not its bytes");
  spend(bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    text += String.fromCodePoint(view.getUint32(at, littleEndian));
  }
  return text.replace(/\0+$/, "");
}

function arrayOf(
  dtype: unknown,
  shape: unknown,
  isFortran: boolean,
  data: unknown,
  spend: Spend,
): TorchTensor | Opaque {
  if (!(dtype instanceof NumpyDtype)) return new Opaque("numpy.ndarray");
  const { code, littleEndian } = dtype;
  const known = dtypes[code];
  // Objects come as a list.
  const bytes = bytesOf(data, spend);
  if (known === undefined || bytes === undefined || !(littleEndian || itemBytes(code) === 1)) {
    return new Opaque(`numpy.ndarray of ${littleEndian ? "" : ">"}${code}`);
  }
  if (!isCounts(shape)) throw new Error("it makes an array in an unknown way");
  const size = shape.reduce((product, length) => product * length, 1);
  if (size * itemBytes(code) !== bytes.length) {
    throw new Error(
      `an array [${shape.join(", ")}] of ${code} does not fit its ${bytes.length} bytes`,
    );
  }
  const storage = new TorchStorage("", known, size, bytes);
  return new TorchTensor(storage, 0, shape, stridesOf(shape, isFortran));
}

/** Steps along each axis, where the last one is the shortest, or as in Fortran the first. */
function stridesOf(shape: readonly number[], isFortran: boolean): number[] {
  const product = (lengths: readonly number[]) => lengths.reduce((a, b) => a * b, 1);
  return shape.map((_, axis) => product(isFortran ? shape.slice(0, axis) : shape.slice(axis + 1)));
}
