import type { Parameter } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import { namesOf } from "../util/names.js";
import { asFloat32, type SafetensorsTensor } from "../weights/index.js";

/**
 * Weights as x-clip's `load_state_dict(strict=True)` wants them: by every name, those of shared modules
 * repeated, counters as int64. Repeated tensors share their arrays.
 *
 * @param aliases other names, each with the parameter's own; none for a file without repeats
 * @param weights by the parameters' own names
 */
export function toStateDict(
  parameters: ReadonlyMap<string, Parameter>,
  aliases: ReadonlyMap<string, string>,
  weights: ReadonlyMap<string, Float32Array>,
): Map<string, SafetensorsTensor> {
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, { shape, fileType }] of parameters) {
    const data = weights.get(name)!;
    tensors.set(
      name,
      fileType === "I64"
        ? { dtype: "I64", shape, data: BigInt64Array.from(data, (value) => BigInt(value)) }
        : { dtype: "F32", shape, data },
    );
  }
  for (const [alias, name] of aliases) tensors.set(alias, tensors.get(name)!);
  return tensors;
}

/**
 * The weights in an x-clip state dict, by the parameters' own names. Each may stand under its own name,
 * under an alias, or under several, if all say the same. A prefix that all names share is dropped, such as
 * the `module.` of DistributedDataParallel.
 *
 * @param where names the file in errors
 * @throws ClipsmithError naming all tensors that are missing, unexpected, of another shape, or repeated
 *   with other numbers
 */
export function fromStateDict(
  parameters: ReadonlyMap<string, Parameter>,
  aliases: ReadonlyMap<string, string>,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  where: string,
): Map<string, Float32Array> {
  const weights = new Map<string, Float32Array>();
  const unexpected: string[] = [];
  const wrong: string[] = [];
  const isKnown = (name: string) => parameters.has(name) || aliases.has(name);
  const named = [...tensors.keys()].some(isKnown) ? tensors : withoutPrefix(tensors);
  for (const [found, tensor] of named) {
    const name = aliases.get(found) ?? found;
    const parameter = parameters.get(name);
    if (parameter === undefined) {
      unexpected.push(found);
      continue;
    }
    const expected = `[${parameter.shape.join(", ")}]`;
    const actual = `[${tensor.shape.join(", ")}]`;
    const data = asFloat32(tensor);
    const other = weights.get(name);
    if (actual !== expected) wrong.push(`${found} should be ${expected}, is ${actual}`);
    else if (other && !areEqual(other, data))
      wrong.push(`${found} should repeat ${name}, but differs`);
    weights.set(name, other ?? data);
  }
  const missing = [...parameters.keys()].filter((name) => !weights.has(name));
  const problems = [
    ...(wrong.length > 0 ? [namesOf(wrong)] : []),
    ...(missing.length > 0 ? [`missing: ${namesOf(missing)}`] : []),
    ...(unexpected.length > 0 ? [`unexpected: ${namesOf(unexpected)}`] : []),
  ];
  if (problems.length > 0) {
    throw new ClipsmithError(
      `${where} does not hold the weights of this model.\n${problems.map((line) => `  ${line}\n`).join("")}` +
        "Do these weights belong to a model with these options?",
    );
  }
  return weights;
}

/**
 * A state dict without the prefix that all its names share, such as `module.`: up to a dot, and none where
 * a name has no dot. x-clip's own names share none.
 */
export function withoutPrefix<T>(tensors: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
  const [first = "", ...others] = [...tensors.keys()];
  let prefix = first.slice(0, first.lastIndexOf(".") + 1);
  for (const name of others) {
    while (!name.startsWith(prefix)) {
      prefix = prefix.slice(0, prefix.slice(0, -1).lastIndexOf(".") + 1);
    }
  }
  return new Map([...tensors].map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}

function areEqual(a: Float32Array, b: Float32Array): boolean {
  return a === b || (a.length === b.length && a.every((value, i) => Object.is(value, b[i])));
}
