import type { DType } from "./dtype.js";
import { elementCount } from "./shape.js";
import type { Value } from "./tensor.js";

/** A value of the given shape, zero or filled by `at(flat index)`. */
export function value(
  dtype: DType,
  shape: readonly number[],
  at: (index: number) => number = () => 0,
): Value {
  const data = new Float64Array(elementCount(shape));
  for (let i = 0; i < data.length; i++) data[i] = at(i);
  return { dtype, shape, data };
}

/** Distance in the flat data between neighbours along each axis. */
export function strides(shape: readonly number[]): number[] {
  const result = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = stride;
    stride *= shape[axis]!;
  }
  return result;
}

/** Position of a flat index along each axis. */
export function positionOf(index: number, shape: readonly number[]): number[] {
  const position = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    position[axis] = index % shape[axis]!;
    index = Math.floor(index / shape[axis]!);
  }
  return position;
}

/** Flat index of a position. Axes of size 1 are broadcast, missing leading axes too. */
export function indexOf(position: readonly number[], shape: readonly number[]): number {
  const skipped = position.length - shape.length;
  let index = 0;
  for (let axis = 0; axis < shape.length; axis++) {
    index = index * shape[axis]! + (shape[axis] === 1 ? 0 : position[axis + skipped]!);
  }
  return index;
}
