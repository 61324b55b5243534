import { ClipsmithError } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import { TorchTensor, type TorchValue } from "./torch-value.js";

/** A dict with tensors in it, and where it lies. */
interface Candidate {
  readonly key: string;
  readonly tensors: ReadonlyMap<string, TorchTensor>;
}

/**
 * Finds the state dict in what a checkpoint holds: the dict with the most tensors by name, among all that
 * are reached through dicts. So `{model: ..., optimizer: ..., epoch: 3}` gives the model's.
 *
 * @param where names the file in errors
 * @param key where to look, such as `"model"` or `"checkpoints.0"`; default everywhere
 * @throws ClipsmithError if there is none, or another has more than half as many tensors
 */
export function findStateDict(
  where: string,
  value: TorchValue,
  key?: string,
): ReadonlyMap<string, TorchTensor> {
  const start = key === undefined ? value : valueAt(where, value, key);
  const [first, ...others] = candidates(start, key).sort((a, b) => b.tensors.size - a.tensors.size);
  if (first === undefined) {
    throw new ClipsmithError(
      `${where} holds no tensors by name${key === undefined ? "" : ` at ${key}`}: it is not a model's state dict.`,
    );
  }
  const rivals = others.filter(({ tensors }) => tensors.size * 2 > first.tensors.size);
  if (rivals.length > 0) {
    const found = [first, ...rivals].map(
      ({ key, tensors }) => `${key || "the file itself"} (${tensors.size} tensors)`,
    );
    throw new ClipsmithError(
      `${where} may mean several state dicts: ${found.join(", ")}. Say which by its key (--key).`,
    );
  }
  return first.tensors;
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
    for (const [name, child] of value as ReadonlyMap<TorchValue, TorchValue>) {
      // Optimizers number their parameters.
      if (typeof name !== "string") continue;
      if (child instanceof TorchTensor) tensors.set(name, child);
      else waiting.push({ key: key ? `${key}.${name}` : name, value: child });
    }
    if (tensors.size > 0) found.push({ key, tensors });
  }
  return found;
}
