import { ClipsmithError } from "../util/errors.js";
import { type PickleCall, unpickle } from "./pickle.js";
import { arrays, type SafetensorsDType } from "./safetensors-header.js";

/** What a checkpoint may hold: Python's None is null, lists and tuples are arrays, dicts are maps. */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | TorchTensor
  | readonly TorchValue[]
  | ReadonlyMap<TorchValue, TorchValue>;

/** A tensor of a checkpoint: a view of a storage, whose numbers are read on request. */
export class TorchTensor {
  readonly storage: TorchStorage;
  /** [] for a scalar. */
  readonly shape: readonly number[];
  /** Steps along each axis, in elements of the storage. */
  readonly strides: readonly number[];
  /** The first element. */
  readonly offset: number;

  constructor(
    storage: TorchStorage,
    offset: number,
    shape: readonly number[],
    strides: readonly number[],
  ) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }

  get dtype(): SafetensorsDType {
    return this.storage.dtype;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, length) => product * length, 1);
  }

  /** One past the last element that the view reaches in its storage; the offset if it is empty. */
  get end(): number {
    if (this.size === 0) return this.offset;
    return this.shape.reduce(
      (end, length, axis) => end + (length - 1) * this.strides[axis]!,
      this.offset + 1,
    );
  }
}

/** Numbers that lie in an archive's file of their own; several tensors can be views of them. */
export class TorchStorage {
  /** The name of its file. */
  readonly key: string;
  readonly dtype: SafetensorsDType;
  /** Number of elements. */
  readonly length: number;

  constructor(key: string, dtype: SafetensorsDType, length: number) {
    this.key = key;
    this.dtype = dtype;
    this.length = length;
  }
}

/** The classes that storages of each dtype have in files. */
const storageTypes: Readonly<Record<string, SafetensorsDType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

/** All that a pickle may name: the classes of storages, and these calls. */
const globals: ReadonlyMap<string, PickleCall | SafetensorsDType> = new Map<
  string,
  PickleCall | SafetensorsDType
>([
  ...Object.entries(storageTypes).map(([name, dtype]) => [`torch.${name}`, dtype] as const),
  ["collections.OrderedDict", () => new Map()],
  ["torch.Size", ([shape]) => shape],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_parameter", ([tensor]) => tensor],
]);

/** A tensor may repeat its storage's numbers (torch's `expand`), but not to any size. */
const MAX_REPEATED_ELEMENTS = 2 ** 24;

/**
 * What the pickle in a PyTorch checkpoint says. Of all that Python could be told to make, only tensors and
 * plain data are known.
 *
 * @param where names the file in errors
 * @throws ClipsmithError if there is anything else, or the pickle is damaged
 */
export function readTorchPickle(where: string, pickle: Uint8Array): TorchValue {
  const value = unpickle(where, pickle, {
    global: (module, name) => {
      const found = globals.get(`${module}.${name}`);
      if (found === undefined) throw refused(where, module, name);
      return found;
    },
    persistentLoad: storageOf,
  });
  return value as TorchValue;
}

function refused(where: string, module: string, name: string): ClipsmithError {
  const isStorage = module.startsWith("torch") && /Storage$|^_rebuild_/.test(name);
  return new ClipsmithError(
    isStorage
      ? `${where} holds a tensor of a kind that is not known here (${module}.${name}): only dense tensors of float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8 and bool are. Convert it, for example by .to(torch.float32), before torch.save.`
      : `${where} holds ${module}.${name}, which is no plain data: Python would run code to make it, and Clipsmith runs none. Save only the weights: torch.save(model.state_dict(), FILE).`,
  );
}

/** The storage of `("storage", class, key, device, length)`. */
function storageOf(id: unknown): TorchStorage {
  if (!Array.isArray(id) || id[0] !== "storage") throw new Error("it refers to what is no storage");
  const [, dtype, key, , length] = id;
  if (!(dtype in arrays) || typeof key !== "string" || !isCount(length)) {
    throw new Error("it refers to a storage in an unknown way");
  }
  return new TorchStorage(key, dtype, length);
}

/** The tensor of (storage, offset, shape, strides, ...): all that follows matters to training alone. */
function rebuildTensor([storage, offset, shape, strides]: readonly unknown[]): TorchTensor {
  if (
    !(storage instanceof TorchStorage) ||
    !isCount(offset) ||
    !isCounts(shape) ||
    !isCounts(strides) ||
    shape.length !== strides.length
  ) {
    throw new Error("it makes a tensor in an unknown way");
  }
  const tensor = new TorchTensor(storage, offset, shape, strides);
  if (
    tensor.end > storage.length ||
    tensor.size > Math.max(storage.length, MAX_REPEATED_ELEMENTS)
  ) {
    throw new Error(
      `a tensor [${shape.join(", ")}] does not fit its storage of ${storage.length} elements`,
    );
  }
  return tensor;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(isCount);
}
