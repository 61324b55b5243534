import { isNumber } from "../dtype.js";
import { broadcast, formatShape, product, type Shape } from "../shape.js";
import { apply, type Operator, type Tensor } from "../tensor.js";
import { indexOf, positionOf, value } from "../value.js";
import { matrixTranspose, reshape } from "./movement.js";
import { expect, expectType, sameDType } from "./operator.js";

function outputShape(a: Shape, b: Shape): Shape {
  expect(
    a.length >= 2 && b.length >= 2,
    "matmul",
    `both need at least two axes, are ${formatShape(a)} and ${formatShape(b)}`,
  );
  expect(
    a.at(-1) === b.at(-2),
    "matmul",
    `${formatShape(a)} times ${formatShape(b)}: the last axis of the first (${a.at(-1)}) ` +
      `must equal the last but one of the second (${b.at(-2)})`,
  );
  return [...broadcast(a.slice(0, -2), b.slice(0, -2), "matmul"), a.at(-2)!, b.at(-1)!];
}

/** The product of the last two axes; the axes before them are batches and broadcast. */
export const MatMul: Operator<Record<never, never>> = {
  name: "MatMul",
  attributes: {},
  infer([a, b]) {
    const dtype = sameDType([a!, b!], "matmul");
    expectType(isNumber, dtype, "matmul");
    return [{ dtype, shape: outputShape(a!.shape, b!.shape) }];
  },
  gradients: [
    (g, { inputs: [, b] }) => matmul(g, matrixTranspose(b!)),
    (g, { inputs: [a, b] }) => {
      if (b!.rank > 2) return matmul(matrixTranspose(a!), g);
      // One matrix served the whole batch: one tall product sums its gradient on the way. It is
      // made as (g^T a)^T, so that a weight used transposed gets its gradient as it is stored.
      const flatten = (x: Tensor) => reshape(x, [product(x.shape.slice(0, -1)), x.shape.at(-1)!]);
      return matrixTranspose(matmul(matrixTranspose(flatten(g)), flatten(a!)));
    },
  ],
  reference([a, b]) {
    const shape = outputShape(a!.shape, b!.shape) as readonly number[];
    const inner = a!.shape.at(-1)!;
    const width = b!.shape.at(-1)!;
    return [
      value(a!.dtype, shape, (i) => {
        const position = positionOf(i, shape);
        const column = position.pop()!;
        const row = position.pop()!;
        const left = indexOf([...position, row, 0], a!.shape);
        const right = indexOf([...position, 0, column], b!.shape);
        let sum = 0;
        for (let k = 0; k < inner; k++) sum += a!.data[left + k]! * b!.data[right + k * width]!;
        return sum;
      }),
    ];
  },
};

/** The matrix product of the last two axes; the axes before them broadcast. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  return apply(MatMul, [a, b], {});
}
