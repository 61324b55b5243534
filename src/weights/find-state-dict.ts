import { ClipsmithError } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import { Opaque } from "./pickle.js";
import { TorchTensor } from "./torch-tensor.js";
import type { TorchValue } from "./torch-value.js";

/** A dict with tensors in it, and where it lies. */
interface Candidate {
  readonly key: string;
  readonly tensors: ReadonlyMap<string, TorchTensor>;
  /** Objects in the same dict that are not known. */
  readonly unknown: ReadonlyMap<string, Opaque>;
}

/**
 * Finds the state dict in what a checkpoint holds: the dict with the most tensors by name, among all that
 * are reached through dicts. So `{model: ..., optimizer: ..., epoch: 3}` gives the model's. Arrays of numpy's
 * count as tensors where they stand beside some, or where the file has no others.
 *
 * @param where names the file in errors
 * @param key where to look, such as `"model"` or `"checkpoints.0"`; default everywhere
 * @throws ClipsmithError if there is none, another has more than half as many tensors, or an object in it is
 *   of a class that is not known
 */
export function findStateDict(
  where: string,
  value: TorchValue,
  key?: string,
): ReadonlyMap<string, TorchTensor> {
  const start = key === undefined ? value : valueAt(where, value, key);
  const all = candidates(start, key);
  const ofTorch = all.filter(({ tensors }) => [...tensors.values()].some(isOfTorch));
  const [first, ...others] = (ofTorch.length > 0 ? ofTorch : all).sort(
    (a, b) => b.tensors.size - a.tensors.size,
  );
  if (first === undefined) throw noStateDict(where, start, key);
  const rivals = others.filter(({ tensors }) => tensors.size * 2 > first.tensors.size);
  if (rivals.length > 0) {
    const found = [first, ...rivals].map(
      ({ key, tensors }) => `${key || "the file itself"} (${tensors.size} tensors)`,
    );
    throw new ClipsmithError(
      `${where} may mean several state dicts: ${found.join(", ")}. Say which by its key (--key).`,
    );
  }
  for (const [name, { name: type }] of first.unknown) throw refused(where, name, type);
  return first.tensors;
}

function isOfTorch({ storage }: TorchTensor): boolean {
  return storage.bytes === undefined;
}

function noStateDict(where: string, start: TorchValue, key: string | undefined): ClipsmithError {
  const at = key === undefined ? "" : ` at ${key}`;
  const unknown = unknownIn(start);
  if (unknown.length === 0) {
    return new ClipsmithError(
      `${where} holds no tensors by name${at}: it is not a model's state dict.`,
    );
  }
  const [tensorType] = unknown.filter(isTensorType);
  return new ClipsmithError(
    `${where} holds no tensors by name${at}, but ${namesOf(unknown)}. ` +
      (tensorType === undefined ? NO_PLAIN_DATA : DENSE_TENSORS),
  );
}

function refused(where: string, name: string, type: string): ClipsmithError {
  return new ClipsmithError(
    isTensorType(type)
      ? `${where}: ${name} is a tensor of a kind that is not known here (${type}). ${DENSE_TENSORS}`
      : `${where}: ${name} in the state dict is ${type}. ${NO_PLAIN_DATA}`,
  );
}

const NO_PLAIN_DATA =
  "That is no plain data: Python would run code to make it, and Clipsmith runs none. Save only the weights: " +
  "torch.save(model.state_dict(), FILE).";

const DENSE_TENSORS =
  "Only dense tensors of float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8 and bool are " +
  "read. Convert them, for example by .to(torch.float32), before torch.save.";

/** Whether a tensor of torch's or an array of numpy's is made by this class or function. */
function isTensorType(name: string): boolean {
  return /^torch\..*(Storage|\b_rebuild_\w+)$|^numpy\.ndarray/.test(name);
}

/** Each name of the unknown objects that are reached through dicts and lists. */
function unknownIn(start: TorchValue): string[] {
  const names = new Set<string>();
  const waiting = new Set([start]);
  for (const value of waiting) {
    if (value instanceof Opaque) names.add(value.name);
    const inside = value instanceof Map ? value.values() : Array.isArray(value) ? value : [];
    for (const child of inside) waiting.add(child);
  }
  return [...names];
}

function valueAt(where: string, value: TorchValue, key: string): TorchValue {
  let at = value;
  for (const [i, part] of key.split(".").entries()) {
    const keys = childKeys(at);
    const child = keys.find((known) => String(known) === part);
    if (child === undefined) {
      const parent = key.split(".").slice(0, i).join(".");
      throw new ClipsmithError(
        `${where} has no "${part}"${parent && ` in ${parent}`}. ${keys.length > 0 ? `There is ${namesOf(keys.map(String))}.` : "Nothing is inside."}`,
      );
    }
    at = at instanceof Map ? at.get(child) : (at as readonly TorchValue[])[child as number]!;
  }
  return at;
}

/** Keys of a dict, places in a list, none of anything else. */
function childKeys(value: TorchValue): readonly (string | number)[] {
  if (Array.isArray(value)) return [...value.keys()];
  if (!(value instanceof Map)) return [];
  return [...value.keys()].filter((key) => typeof key === "string" || typeof key === "number");
}

function candidates(start: TorchValue, startKey = ""): Candidate[] {
  const found: Candidate[] = [];
  const waiting: { key: string; value: TorchValue }[] = [{ key: startKey, value: start }];
  // A pickle can hold one dict in many places, and in itself.
  const seen = new Set<TorchValue>();
  for (const { key, value } of waiting) {
    if (!(value instanceof Map) || seen.has(value)) continue;
    seen.add(value);
    const tensors = new Map<string, TorchTensor>();
    const unknown = new Map<string, Opaque>();
    for (const [name, child] of value as ReadonlyMap<TorchValue, TorchValue>) {
      // Optimizers number their parameters.
      if (typeof name !== "string") continue;
      if (child instanceof TorchTensor) tensors.set(name, child);
      else if (child instanceof Opaque) unknown.set(name, child);
      else waiting.push({ key: key ? `${key}.${name}` : name, value: child });
    }
    if (tensors.size > 0) found.push({ key, tensors, unknown });
  }
  return found;
}
