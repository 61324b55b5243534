import type { DType } from "../dtype.js";
import { formatShape, type Shape } from "../shape.js";
import type { TensorType } from "../tensor.js";

/** Throws unless the condition holds; `where` is the operator's name. */
export function expect(condition: boolean, where: string, message: string): asserts condition {
  if (!condition) throw new Error(`${where}: ${message}`);
}

/** Throws unless an operator accepts an element type. */
export function expectType(accepts: (dtype: DType) => boolean, dtype: DType, where: string): void {
  expect(accepts(dtype), where, `does not take ${dtype}; cast it first`);
}

/** Throws unless all tensors have one element type; returns it. */
export function sameDType(inputs: readonly TensorType[], where: string): DType {
  const [first] = inputs;
  const other = inputs.find((tensor) => tensor.dtype !== first!.dtype);
  expect(other === undefined, where, `types differ: ${first!.dtype} and ${other?.dtype}; cast one`);
  return first!.dtype;
}

/** The sizes as numbers. Throws where one is known only when the graph runs. */
export function staticShape(shape: Shape, where: string): readonly number[] {
  return shape.map((dim, axis) => {
    expect(
      typeof dim === "number",
      where,
      `axis ${axis} of ${formatShape(shape)} needs a fixed size`,
    );
    return dim;
  });
}
