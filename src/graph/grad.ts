import { isFloat } from "./dtype.js";
import { topological } from "./graph.js";
import { add } from "./operators/elementwise.js";
import { expandLike, sumTo } from "./operators/reduction.js";
import { after, type Copy, copyOfBlock } from "./recompute.js";
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
  const reaches = reaching(nodes, targets);
  for (const node of nodes.toReversed()) {
    if (!node.inputs.some(reaches)) continue;
    const received = node.outputs.map((output) => {
      const gradient = gradients.get(output);
      const copy = gradient && copyOfBlock(output, gradient, targets);
      if (!copy) return gradient;
      pullThrough(copy, gradient, reaches, accumulate);
      return undefined;
    });
    differentiate(node, received, reaches, accumulate);
  }
  return wrt.map((tensor) => gradients.get(tensor));
}

/** Takes what a gradient of a tensor adds up to. */
type Accumulate = (tensor: Tensor, gradient: Tensor) => void;

/** Whether a gradient can reach `targets` through a tensor. */
function reaching(
  nodes: readonly Node[],
  targets: ReadonlySet<Tensor>,
): (tensor: Tensor) => boolean {
  const needed = new Set<Node>();
  const reaches = (tensor: Tensor) =>
    targets.has(tensor) || (tensor.source.kind === "node" && needed.has(tensor.source.node));
  for (const node of nodes) if (node.inputs.some(reaches)) needed.add(node);
  return reaches;
}

function differentiate(
  node: Node,
  received: readonly (Tensor | undefined)[],
  reaches: (tensor: Tensor) => boolean,
  accumulate: Accumulate,
): void {
  if (received.every((gradient) => gradient === undefined)) return;
  const output = node.outputs[0]!;
  const first = received[0] ?? expandLike(constant(0, [], output.dtype), output);
  for (const [place, input] of node.inputs.entries()) {
    // Whole numbers and bools do not vary continuously: a gradient ends there.
    if (!isFloat(input.dtype) || !reaches(input)) continue;
    const { gradients: rules } = node.operator;
    const rule = typeof rules === "function" ? rules(place) : rules[place];
    if (rule) accumulate(input, rule(first, { ...node, gradients: received }));
  }
}

/** Pulls the gradient of a block's output back through the block's second copy. */
function pullThrough(
  { output, reads }: Copy,
  gradient: Tensor,
  reaches: (tensor: Tensor) => boolean,
  accumulate: Accumulate,
): void {
  const wanted = [...reads].filter(([original]) => reaches(original));
  const found = pullback(
    [output],
    [gradient],
    wanted.map(([, read]) => read),
  ).flatMap((result, i) => (result ? [[wanted[i]![0], result] as const] : []));
  // What came before waits until the parameters' gradients are done, or a runtime might leave them for
  // the end and hold all that they are made of.
  const ofInputs = found.filter(([{ source }]) => source.kind === "input").map(([, g]) => g);
  for (const [original, g] of found) {
    accumulate(original, original.source.kind === "input" ? g : after(g, ofInputs));
  }
}
