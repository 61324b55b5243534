import { isFloat } from "./dtype.js";
import { topological } from "./graph.js";
import { add, cast, greater, mul, where } from "./operators/elementwise.js";
import { gather } from "./operators/indexing.js";
import { reshape } from "./operators/movement.js";
import { applyAll, constant, nextSerial, type Tensor } from "./tensor.js";

/** For what a block gave: the serial number of the first node made in it. */
const starts = new WeakMap<Tensor, number>();

/**
 * What `block` gives, made so that the backward pass computes the block again instead of keeping all it
 * makes (gradient checkpointing, Chen et al., 2016): from the forward pass, memory holds only what it
 * reads and gives. Gradients are the same numbers. Where none is taken, the graph is that of `block()`.
 *
 * A block inside another changes nothing: the outer one is computed again as a whole. Nor does a block
 * that makes a tensor whose own gradient is asked for, other than its result.
 */
export function recompute(block: () => Tensor): Tensor {
  const start = nextSerial();
  const output = block();
  const { source } = output;
  if (source.kind === "node" && source.node.serial >= start) starts.set(output, start);
  return output;
}

/** A block made a second time. */
export interface Copy {
  readonly output: Tensor;
  /** The floats that the block reads but does not make, each with what the copy reads in its place. */
  readonly reads: ReadonlyMap<Tensor, Tensor>;
}

/**
 * The second copy of the block that gave `output`, computed after `gradient`; undefined if there is no
 * such block, or if it makes some of `targets` on the way.
 */
export function copyOfBlock(
  output: Tensor,
  gradient: Tensor,
  targets: ReadonlySet<Tensor>,
): Copy | undefined {
  const start = starts.get(output);
  if (start === undefined) return undefined;
  const nodes = topological([output], start);
  const inner = nodes.flatMap((node) => node.outputs).filter((tensor) => tensor !== output);
  if (inner.some((tensor) => targets.has(tensor))) return undefined;

  const made = new Map<Tensor, Tensor>();
  const reads = new Map<Tensor, Tensor>();
  const inCopy = (tensor: Tensor): Tensor => {
    const known = made.get(tensor) ?? reads.get(tensor);
    if (known) return known;
    if (tensor.source.kind === "constant" || !isFloat(tensor.dtype)) return tensor;
    // Parameters wait too: what is made of them alone would otherwise be kept since the forward.
    const read = after(tensor, [gradient]);
    reads.set(tensor, read);
    return read;
  };
  for (const node of nodes) {
    const outputs = applyAll(node.operator, node.inputs.map(inCopy), node.attributes);
    for (const [i, original] of node.outputs.entries()) made.set(original, outputs[i]!);
  }
  return { output: made.get(output)!, reads };
}

/**
 * The same numbers as `x`, computed after `others`: they are multiplied by a 1 that a runtime can only
 * know by looking at these. So a runtime can neither do it earlier nor find that it is `x`.
 */
export function after(x: Tensor, others: readonly Tensor[]): Tensor {
  if (others.length === 0) return x;
  const first = (other: Tensor) =>
    cast(gather(reshape(other, [-1]), constant(0, [], "int32")), x.dtype);
  const sum = others.map(first).reduce(add);
  return mul(x, where(greater(sum, 0), constant(1, [], x.dtype), 1));
}
