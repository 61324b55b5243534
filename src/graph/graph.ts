import { sameShape } from "./shape.js";
import type { Node, Tensor } from "./tensor.js";

/**
 * All nodes that `outputs` depend on, each after those it reads; only those whose serial number is at
 * least `from`, default all.
 */
export function topological(outputs: readonly Tensor[], from = 0): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, "open" | "done">();
  // An explicit stack: deep models would overflow the call stack.
  const stack: Node[] = [];
  const push = (tensor: Tensor) => {
    if (tensor.source.kind !== "node") return;
    const { node } = tensor.source;
    if (node.serial >= from && !state.has(node)) stack.push(node);
  };
  for (const output of outputs) {
    push(output);
    while (stack.length > 0) {
      const node = stack.at(-1)!;
      if (state.get(node) === undefined) {
        state.set(node, "open");
        for (const input of node.inputs.toReversed()) push(input);
        continue;
      }
      stack.pop();
      if (state.get(node) === "open") {
        state.set(node, "done");
        order.push(node);
      }
    }
  }
  return order;
}

/** A graph ready to be emitted: named outputs, and the inputs they turn out to need. */
export interface Graph {
  /** Inputs by name; only those that some output depends on. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** Every node after those it reads. */
  readonly nodes: readonly Node[];
}

/**
 * Collects what the named outputs depend on, and verifies it.
 *
 * @throws Error if two different inputs, or an input and an output, share a name, or a node's types are not what its operator infers.
 */
export function graph(outputs: Readonly<Record<string, Tensor>>): Graph {
  const named = new Map(Object.entries(outputs));
  const nodes = topological([...named.values()]);
  const inputs = new Map<string, Tensor>();
  const visit = (tensor: Tensor) => {
    if (tensor.source.kind !== "input") return;
    const { name } = tensor.source;
    if (named.has(name)) throw new Error(`graph: "${name}" names both an input and an output`);
    const known = inputs.get(name);
    if (known !== undefined && known !== tensor) {
      throw new Error(`graph: two different inputs are named "${name}": ${known} and ${tensor}`);
    }
    inputs.set(name, tensor);
  };
  for (const node of nodes) node.inputs.forEach(visit);
  [...named.values()].forEach(visit);
  verify(nodes);
  return { inputs, outputs: named, nodes };
}

/** Throws unless every node's outputs have the types that its operator infers from its inputs. */
function verify(nodes: readonly Node[]): void {
  for (const node of nodes) {
    const types = node.operator.infer(node.inputs, node.attributes);
    const agrees =
      types.length === node.outputs.length &&
      types.every((type, i) => {
        const output = node.outputs[i]!;
        return type.dtype === output.dtype && sameShape(type.shape, output.shape);
      });
    if (!agrees) throw new Error(`graph: ${node.operator.name} does not have the types it infers`);
  }
}

/** One line a node, with types and attributes, for reading. */
export function dump({ inputs, outputs, nodes }: Graph): string {
  const names = new Map<Tensor, string>();
  const lines: string[] = [];
  for (const [name, tensor] of inputs) {
    names.set(tensor, name);
    lines.push(`input ${name}: ${tensor}`);
  }
  const nameOf = (tensor: Tensor): string => {
    const name = names.get(tensor);
    if (name !== undefined) return name;
    if (tensor.source.kind !== "constant") throw new Error("dump: a tensor has no maker");
    const { data } = tensor.source;
    return data.length === 1 ? `${data[0]}` : `constant ${tensor}`;
  };
  for (const [i, node] of nodes.entries()) {
    const made = node.outputs.map((output, j) => {
      names.set(output, j === 0 ? `%${i}` : `%${i}.${j}`);
      return `${names.get(output)}: ${output}`;
    });
    const attributes = Object.entries(node.attributes).map(
      ([name, value]) => `${name}=${Array.isArray(value) ? `[${value.join(", ")}]` : value}`,
    );
    const operands = [...node.inputs.map(nameOf), ...attributes].join(", ");
    lines.push(`${made.join(", ")} = ${node.operator.name}(${operands})`);
  }
  for (const [name, tensor] of outputs) lines.push(`output ${name} = ${nameOf(tensor)}`);
  return lines.join("\n");
}
