import { type Data, elementCount, graph, type Tensor } from "../src/graph/index.js";
import type { Parameter } from "../src/nn/index.js";
import { Program } from "../src/runtime/index.js";
import { compareGradient, type Difference } from "./compare.js";
import { type Fixture, floats } from "./fixture.js";

/** A case asks for something that Clipsmith does not have; the message names the option. */
export class Unsupported extends Error {}

/** Compiles, runs once and releases. */
export async function runOnce(
  outputs: Readonly<Record<string, Tensor>>,
  feeds: Readonly<Record<string, Data>>,
): Promise<Record<string, Data>> {
  const program = await Program.compile(graph(outputs));
  try {
    return await program.run(feeds);
  } finally {
    await program.release();
  }
}

/** The case's parameters, by name. Throws if they are not the model's. */
export function parameterFeeds(
  fixture: Fixture,
  parameters: ReadonlyMap<string, Parameter>,
): Map<string, Float32Array> {
  const values = floats(fixture, "param.");
  const missing = [...parameters.keys()].filter((name) => !values.has(name));
  const unknown = [...values.keys()].filter((name) => !parameters.has(name));
  if (missing.length + unknown.length > 0) {
    throw new Error(
      `${fixture.name}: parameters differ: missing [${missing}], not in the model [${unknown}]`,
    );
  }
  return values;
}

/** Arrays of zeros for some of the parameters, by name. */
export function zeros(
  names: Iterable<string>,
  parameters: ReadonlyMap<string, Parameter>,
): Map<string, Float32Array> {
  return new Map(
    [...names].map((name) => {
      return [name, new Float32Array(elementCount(parameters.get(name)!.shape))];
    }),
  );
}

/** Runs once with gradients beside the outputs, and gives both apart. */
export async function runWithGradients(
  outputs: Readonly<Record<string, Tensor>>,
  gradients: ReadonlyMap<string, Tensor>,
  feeds: Readonly<Record<string, Data>>,
): Promise<{ results: Record<string, Data>; gradients: Map<string, Float32Array> }> {
  const outputOf = (name: string) => `gradient of ${name}`;
  const named = [...gradients].map(([name, gradient]) => [outputOf(name), gradient]);
  const results = await runOnce({ ...outputs, ...Object.fromEntries(named) }, feeds);
  const values = [...gradients.keys()].map(
    (name) => [name, results[outputOf(name)] as Float32Array] as const,
  );
  return { results, gradients: new Map(values) };
}

/** Compares gradients, and which parameters have none at all. */
export function compareGradients(
  fixture: Fixture,
  actual: ReadonlyMap<string, ArrayLike<number>>,
): Difference[] {
  const expected = floats(fixture, "grad.");
  const differences = [...expected].map(([name, gradient]) =>
    compareGradient(name, actual.get(name) ?? [], gradient),
  );
  for (const name of actual.keys()) {
    if (!expected.has(name)) differences.push(compareGradient(`${name} (none expected)`, [1], [0]));
  }
  return differences;
}
