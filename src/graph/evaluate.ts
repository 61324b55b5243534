import type { Graph } from "./graph.js";
import { formatShape } from "./shape.js";
import type { Tensor, Value } from "./tensor.js";

/**
 * Computes a graph with the operators' references, in double precision: slow and obvious, the oracle of
 * tests.
 */
export function evaluate(
  { inputs, outputs, nodes }: Graph,
  feeds: Readonly<Record<string, Value>>,
): Record<string, Value> {
  const values = new Map<Tensor, Value>();
  for (const [name, tensor] of inputs) {
    const feed = feeds[name];
    if (feed === undefined) throw new Error(`evaluate: input "${name}" (${tensor}) is missing`);
    const fits =
      feed.shape.length === tensor.rank &&
      tensor.shape.every((dim, axis) => typeof dim === "string" || dim === feed.shape[axis]);
    if (!fits) {
      throw new Error(
        `evaluate: input "${name}" is ${tensor}, was given ${formatShape(feed.shape)}`,
      );
    }
    values.set(tensor, feed);
  }
  const read = (tensor: Tensor): Value => {
    const { source } = tensor;
    if (source.kind !== "constant") return values.get(tensor)!;
    return {
      dtype: tensor.dtype,
      shape: tensor.shape as readonly number[],
      data: Float64Array.from(source.data as ArrayLike<number | bigint>, Number),
    };
  };
  for (const node of nodes) {
    const results = node.operator.reference(node.inputs.map(read), node.attributes);
    for (const [i, output] of node.outputs.entries()) values.set(output, results[i]!);
  }
  return Object.fromEntries([...outputs].map(([name, tensor]) => [name, read(tensor)]));
}
