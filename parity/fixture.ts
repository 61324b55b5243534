import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { asFloat32, readSafetensors, type SafetensorsTensor } from "../src/weights/index.js";

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** One case of a fixture folder: what x-clip was given, and what it gave. */
export interface Fixture {
  readonly folder: string;
  readonly name: string;
  readonly kind: string;
  /** x-clip's constructor arguments, in its own spelling. */
  readonly constructorOptions: Readonly<Record<string, Json>>;
  /** x-clip's forward arguments; strings of the form `in.*` name tensors. */
  readonly forward: Readonly<Record<string, Json>>;
  /** The rest of the case's description. */
  readonly description: Readonly<Record<string, Json>>;
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
}

/** Reads `<folder>/<name>.json` and `.safetensors`. */
export async function readFixture(folder: string, name: string): Promise<Fixture> {
  const text = await readFile(join(folder, `${name}.json`), "utf8");
  const description = JSON.parse(text) as Record<string, Json>;
  const { tensors } = await readSafetensors(join(folder, `${name}.safetensors`));
  return {
    folder,
    name,
    kind: description.kind as string,
    constructorOptions: (description.ctor ?? {}) as Record<string, Json>,
    forward: (description.forward ?? {}) as Record<string, Json>,
    description,
    tensors,
  };
}

/** The tensors whose names start with a prefix, as float32, by the rest of their names. */
export function floats(fixture: Fixture, prefix: string): Map<string, Float32Array> {
  const found = [...fixture.tensors].filter(([name]) => name.startsWith(prefix));
  return new Map(found.map(([name, tensor]) => [name.slice(prefix.length), asFloat32(tensor)]));
}

/** A tensor of whole numbers as int32. */
export function ints(fixture: Fixture, name: string): Int32Array {
  return Int32Array.from(tensor(fixture, name).data as ArrayLike<bigint | number>, Number);
}

/** A tensor as float32. */
export function float(fixture: Fixture, name: string): Float32Array {
  return asFloat32(tensor(fixture, name));
}

/** A tensor of the case. Throws if the file lacks it. */
export function tensor(fixture: Fixture, name: string): SafetensorsTensor {
  const found = fixture.tensors.get(name);
  if (found === undefined) throw new Error(`${fixture.name}.safetensors has no tensor "${name}"`);
  return found;
}
