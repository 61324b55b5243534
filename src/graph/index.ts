/**
 * Symbolic tensors, their operators, and differentiation from graph to graph.
 *
 * @module
 */
export { type Data, type DType, dtypes, isFloat } from "./dtype.js";
export { einsum } from "./einsum.js";
export { evaluate } from "./evaluate.js";
export * from "./functions.js";
export { grad, pullback } from "./grad.js";
export { dump, type Graph, graph, topological } from "./graph.js";
export * from "./operators/index.js";
export { recompute } from "./recompute.js";
export {
  type Dim,
  elementCount,
  formatShape,
  isStatic,
  product,
  type Shape,
  sameShape,
} from "./shape.js";
export {
  type Attributes,
  constant,
  input,
  type Node,
  type Operator,
  Tensor,
  type TensorType,
  type Value,
} from "./tensor.js";
export { value } from "./value.js";
