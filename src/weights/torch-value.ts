import { numpyGlobals } from "./numpy-values.js";
import { Opaque, type PickleCall, unpickle } from "./pickle.js";
import { plainGlobals, spendWithin } from "./plain-values.js";
import { arrays, type SafetensorsDType } from "./safetensors-header.js";
import { isCount, isCounts, TorchStorage, TorchTensor } from "./torch-tensor.js";

/** What a checkpoint may hold: Python's None is null; lists, tuples and sets are arrays, dicts are maps. */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | TorchTensor
  | Opaque
  | readonly TorchValue[]
  | ReadonlyMap<TorchValue, TorchValue>;

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

/** How torch's pickles make tensors. */
const torchGlobals: ReadonlyMap<string, PickleCall | SafetensorsDType> = new Map<
  string,
  PickleCall | SafetensorsDType
>([
  ...Object.entries(storageTypes).map(([name, dtype]) => [`torch.${name}`, dtype] as const),
  ["torch.Size", ([shape = []]) => shape],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_parameter", ([tensor]) => tensor],
  ["torch._utils._rebuild_parameter_with_state", ([tensor]) => tensor],
  ["torch._tensor._rebuild_from_type_v2", rebuildFromType],
]);

/** The classes of tensors that are nothing but tensors. */
const TENSOR_TYPES = ["torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"];

/** A tensor may repeat its storage's numbers (torch's `expand`), but not to any size. */
const MAX_REPEATED_ELEMENTS = 2 ** 24;

/**
 * What the pickle in a PyTorch checkpoint says. Of all that Python could be told to make, only tensors and
 * plain data are known; whatever else is there becomes {@link Opaque}.
 *
 * @param where names the file in errors
 * @throws ClipsmithError if the pickle is damaged
 */
export function readTorchPickle(where: string, pickle: Uint8Array): TorchValue {
  const spend = spendWithin(pickle.length);
  const globals = new Map<string, unknown>([
    ...plainGlobals(spend),
    ...numpyGlobals(spend),
    ...torchGlobals,
  ]);
  const value = unpickle(where, pickle, {
    global: (module, name) =>
      globals.get(`${usualModule(module)}.${name}`) ?? new Opaque(`${module}.${name}`),
    persistentLoad: storageOf,
  });
  return value as TorchValue;
}

/** Python 2 and numpy 2 have other names for some modules. */
function usualModule(module: string): string {
  if (module === "__builtin__") return "builtins";
  if (module === "copy_reg") return "copyreg";
  return module.replace(/^numpy\._core\b/, "numpy.core");
}

/** The storage of `("storage", class, key, device, length)`. */
function storageOf(id: unknown): TorchStorage | Opaque {
  if (!Array.isArray(id) || id[0] !== "storage") throw new Error("it refers to what is no storage");
  const [, dtype, key, , length] = id;
  if (dtype instanceof Opaque) return dtype;
  if (!(dtype in arrays) || typeof key !== "string" || !isCount(length)) {
    throw new Error("it refers to a storage in an unknown way");
  }
  return new TorchStorage(key, dtype, length);
}

/** The tensor of (storage, offset, shape, strides, ...): all that follows matters to training alone. */
function rebuildTensor([storage, offset, shape, strides]: readonly unknown[]):
  | TorchTensor
  | Opaque {
  if (storage instanceof Opaque) return storage;
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

/** A tensor with attributes, or of a class of its own: (how it is made, class, what of, attributes). */
function rebuildFromType([make, type, args]: readonly unknown[]): unknown {
  if (make instanceof Opaque) return make;
  if (!(type instanceof Opaque)) throw new Error("it makes a tensor in an unknown way");
  const isPlain = TENSOR_TYPES.includes(type.name);
  return isPlain && make === rebuildTensor && Array.isArray(args) ? rebuildTensor(args) : type;
}
