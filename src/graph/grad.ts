import { isFloat } from "./dtype.js";
import { topological } from "./graph.js";
import { add } from "./operators/elementwise.js";
import { expandLike, sumTo } from "./operators/reduction.js";
import { sameShape } from "./shape.js";
import { constant, type Node, type Tensor } from "./tensor.js";

/**
 * Reverse-mode differentiation from graph to graph: the gradients of a scalar `loss` with respect to
 * each of `wrt`, built of the same operators, so that they can be differentiated again.
 *
 * @returns one gradient for each of `wrt`, of its shape; undefined where the loss does not depend on it
 *   or only through inputs that are not differentiable.
 * @throws Error if the loss is not a scalar float.
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): (Tensor | undefined)[] {
  if (loss.rank !== 0 || !isFloat(loss.dtype)) {
    throw new Error(`grad: the loss must be a scalar float, is ${loss}`);
  }
  return pullback([loss], [constant(1, [], loss.dtype)], wrt);
}

/**
 * Pulls gradients of `outputs` back to `wrt`: the vector-Jacobian product. `grad` is the case of one
 * scalar output whose gradient is 1.
 *
 * @param cotangents one gradient for each output, of its type and shape.
 * @returns as `grad` does.
 * @throws Error if the cotangents do not match the outputs.
 */
export function pullback(
  outputs: readonly Tensor[],
  cotangents: readonly Tensor[],
  wrt: readonly Tensor[],
): (Tensor | undefined)[] {
  const gradients = new Map<Tensor, Tensor>();
  const accumulate = (tensor: Tensor, gradient: Tensor) => {
    const fitted = sumTo(gradient, tensor.shape);
    const known = gradients.get(tensor);
    gradients.set(tensor, known === undefined ? fitted : add(known, fitted));
  };
  if (cotangents.length !== outputs.length) {
    throw new Error(
      `pullback: ${outputs.length} outputs need as many gradients, there are ${cotangents.length}`,
    );
  }
  for (const [i, output] of outputs.entries()) {
    const cotangent = cotangents[i]!;
    if (cotangent.dtype !== output.dtype || !sameShape(cotangent.shape, output.shape)) {
      throw new Error(`pullback: the gradient of output ${i} must be ${output}, is ${cotangent}`);
    }
    accumulate(output, cotangent);
  }

  const nodes = topological(outputs);
  const targets = new Set(wrt);
  const needed = dependents(nodes, targets);
  for (const node of nodes.toReversed()) {
    if (needed.has(node)) differentiate(node, needed, targets, gradients, accumulate);
  }
  return wrt.map((tensor) => gradients.get(tensor));
}

/** The nodes through which a gradient can reach `targets`. */
function dependents(nodes: readonly Node[], targets: ReadonlySet<Tensor>): Set<Node> {
  const needed = new Set<Node>();
  for (const node of nodes) {
    const reaches = node.inputs.some(
      (x) => targets.has(x) || (x.source.kind === "node" && needed.has(x.source.node)),
    );
    if (reaches) needed.add(node);
  }
  return needed;
}

function differentiate(
  node: Node,
  needed: ReadonlySet<Node>,
  targets: ReadonlySet<Tensor>,
  gradients: ReadonlyMap<Tensor, Tensor>,
  accumulate: (tensor: Tensor, gradient: Tensor) => void,
): void {
  const received = node.outputs.map((output) => gradients.get(output));
  if (received.every((gradient) => gradient === undefined)) return;
  const output = node.outputs[0]!;
  const first = received[0] ?? expandLike(constant(0, [], output.dtype), output);
  for (const [place, input] of node.inputs.entries()) {
    // Whole numbers and bools do not vary continuously: a gradient ends there.
    if (!isFloat(input.dtype)) continue;
    const { source } = input;
    if (!targets.has(input) && !(source.kind === "node" && needed.has(source.node))) continue;
    const { gradients: rules } = node.operator;
    const rule = typeof rules === "function" ? rules(place) : rules[place];
    if (rule) accumulate(input, rule(first, { ...node, gradients: received }));
  }
}
