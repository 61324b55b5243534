import { type DType, dtypes, isFloat, isNumber } from "../dtype.js";
import { broadcast } from "../shape.js";
import {
  apply,
  constant,
  type GradientRule,
  type Operator,
  Tensor,
  type Value,
} from "../tensor.js";
import { indexOf, positionOf, value } from "../value.js";
import { expect, expectType, sameDType } from "./operator.js";

/** A tensor, or a number that stands for a scalar of the other operand's type. */
export type Operand = Tensor | number;

type Plain = Record<never, never>;

// --- Factories: what all operators of one form share.

function unary(
  name: string,
  f: (x: number) => number,
  gradient: GradientRule<Plain> | null,
  accepts: (dtype: DType) => boolean = isFloat,
): Operator<Plain> {
  return {
    name,
    attributes: {},
    infer([x]) {
      expectType(accepts, x!.dtype, name);
      return [{ dtype: x!.dtype, shape: x!.shape }];
    },
    gradients: [gradient],
    reference: ([x]) => [value(x!.dtype, x!.shape, (i) => f(x!.data[i]!))],
  };
}

function broadcastReference(
  dtype: DType,
  inputs: readonly Value[],
  f: (...values: number[]) => number,
): readonly Value[] {
  const shape = inputs
    .map((x) => x.shape)
    .reduce((a, b) => broadcast(a, b, "reference") as readonly number[]);
  return [
    value(dtype, shape, (i) => {
      const position = positionOf(i, shape);
      return f(...inputs.map((x) => x.data[indexOf(position, x.shape)]!));
    }),
  ];
}

function binary(
  name: string,
  f: (a: number, b: number) => number,
  gradients: readonly [GradientRule<Plain> | null, GradientRule<Plain> | null],
  accepts: (dtype: DType) => boolean = isNumber,
  result?: DType,
): Operator<Plain> {
  return {
    name,
    attributes: {},
    infer([a, b]) {
      const dtype = sameDType([a!, b!], name);
      expectType(accepts, dtype, name);
      return [{ dtype: result ?? dtype, shape: broadcast(a!.shape, b!.shape, name) }];
    },
    gradients,
    reference([a, b]) {
      // Division of whole numbers drops the fraction.
      const rounded = isFloat(a!.dtype) ? f : (x: number, y: number) => Math.trunc(f(x, y));
      return broadcastReference(result ?? a!.dtype, [a!, b!], rounded);
    },
  };
}

const isBool = (dtype: DType) => dtype === "bool";
const compare = (
  name: string,
  f: (a: number, b: number) => boolean,
  accepts: (dtype: DType) => boolean = isNumber,
) => binary(name, (a, b) => Number(f(a, b)), [null, null], accepts, "bool");

// --- Arithmetic

export const Add = binary("Add", (a, b) => a + b, [(g) => g, (g) => g]);
export const Sub = binary("Sub", (a, b) => a - b, [(g) => g, (g) => neg(g)]);
export const Mul = binary("Mul", (a, b) => a * b, [
  (g, { inputs: [, b] }) => mul(g, b!),
  (g, { inputs: [a] }) => mul(g, a!),
]);
export const Div = binary("Div", (a, b) => a / b, [
  (g, { inputs: [, b] }) => div(g, b!),
  (g, { inputs: [, b], outputs: [y] }) => neg(div(mul(g, y!), b!)),
]);
/** Differentiable in its base only; the exponent is a constant wherever it is used. */
export const Pow = binary("Pow", (a, b) => a ** b, [
  (g, { inputs: [a, b] }) => mul(g, mul(b!, pow(a!, sub(b!, 1)))),
  null,
]);
export const Max = binary("Max", Math.max, [
  (g, { inputs: [a, b] }) => where(greaterOrEqual(a!, b!), g, 0),
  (g, { inputs: [a, b] }) => where(greaterOrEqual(a!, b!), 0, g),
]);
export const Min = binary("Min", Math.min, [
  (g, { inputs: [a, b] }) => where(lessOrEqual(a!, b!), g, 0),
  (g, { inputs: [a, b] }) => where(lessOrEqual(a!, b!), 0, g),
]);

// --- Comparison and logic

export const Equal = compare(
  "Equal",
  (a, b) => a === b,
  () => true,
);
export const Less = compare("Less", (a, b) => a < b);
export const LessOrEqual = compare("LessOrEqual", (a, b) => a <= b);
export const Greater = compare("Greater", (a, b) => a > b);
export const GreaterOrEqual = compare("GreaterOrEqual", (a, b) => a >= b);
export const And = compare("And", (a, b) => a !== 0 && b !== 0, isBool);
export const Or = compare("Or", (a, b) => a !== 0 || b !== 0, isBool);
export const Not = unary("Not", (x) => Number(x === 0), null, isBool);

// --- Functions of one value

export const Neg = unary(
  "Neg",
  (x) => -x,
  (g) => neg(g),
  isNumber,
);
export const Abs = unary(
  "Abs",
  Math.abs,
  (g, { inputs: [x] }) => where(greaterOrEqual(x!, 0), g, neg(g)),
  isNumber,
);
export const Exp = unary("Exp", Math.exp, (g, { outputs: [y] }) => mul(g, y!));
export const Log = unary("Log", Math.log, (g, { inputs: [x] }) => div(g, x!));
export const Sqrt = unary("Sqrt", Math.sqrt, (g, { outputs: [y] }) => div(mul(g, 0.5), y!));
export const Reciprocal = unary(
  "Reciprocal",
  (x) => 1 / x,
  (g, { outputs: [y] }) => neg(mul(g, mul(y!, y!))),
);
export const Sin = unary("Sin", Math.sin, (g, { inputs: [x] }) => mul(g, cos(x!)));
export const Cos = unary("Cos", Math.cos, (g, { inputs: [x] }) => neg(mul(g, sin(x!))));
export const Tanh = unary("Tanh", Math.tanh, (g, { outputs: [y] }) => mul(g, sub(1, mul(y!, y!))));
export const Sigmoid = unary(
  "Sigmoid",
  (x) => 1 / (1 + Math.exp(-x)),
  (g, { outputs: [y] }) => mul(g, mul(y!, sub(1, y!))),
);
export const Softplus = unary(
  "Softplus",
  (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  (g, { inputs: [x] }) => mul(g, sigmoid(x!)),
);
export const Relu = unary(
  "Relu",
  (x) => Math.max(x, 0),
  (g, { inputs: [x] }) => where(greater(x!, 0), g, 0),
);
export const Erf = unary("Erf", erfReference, (g, { inputs: [x] }) =>
  mul(g, mul(exp(neg(mul(x!, x!))), 2 / Math.sqrt(Math.PI))),
);
/** x Phi(x), with the normal distribution's exact Phi (Hendrycks and Gimpel, 2016). */
export const Gelu = unary(
  "Gelu",
  (x) => 0.5 * x * (1 + erfReference(x / Math.SQRT2)),
  (g, { inputs: [x] }) => {
    // Phi(x) + x phi(x), with u = x / sqrt 2 as the only scaling of x: these tensors are the largest.
    const u = mul(x!, Math.SQRT1_2);
    const density = mul(mul(u, exp(neg(mul(u, u)))), 1 / Math.sqrt(Math.PI));
    return mul(g, add(add(mul(erf(u), 0.5), 0.5), density));
  },
);
export const Identity = unary(
  "Identity",
  (x) => x,
  (g) => g,
  () => true,
);

/** Identity through which no gradient flows. */
export const Detach: Operator<Plain> = { ...Identity, gradients: [null] };

/** Converts the element type. Floats become whole numbers by dropping the fraction. */
export const Cast: Operator<{ readonly to: DType }> = {
  name: "Cast",
  attributes: { to: "dtype" },
  infer: ([x], { to }) => [{ dtype: to, shape: x!.shape }],
  gradients: [(g, { inputs: [x] }) => cast(g, x!.dtype)],
  reference: ([x], { to }) => [
    value(to, x!.shape, (i) => {
      const number = x!.data[i]!;
      if (to === "bool") return Number(number !== 0);
      return isFloat(to) ? number : Math.trunc(number);
    }),
  ],
};

export const Where: Operator<Plain> = {
  name: "Where",
  attributes: {},
  infer([condition, a, b]) {
    expect(condition!.dtype === "bool", "Where", `condition must be bool, is ${condition!.dtype}`);
    const dtype = sameDType([a!, b!], "Where");
    const shape = broadcast(a!.shape, b!.shape, "Where");
    return [{ dtype, shape: broadcast(condition!.shape, shape, "Where") }];
  },
  gradients: [
    null,
    (g, { inputs: [condition] }) => where(condition!, g, 0),
    (g, { inputs: [condition] }) => where(condition!, 0, g),
  ],
  reference: (inputs) =>
    broadcastReference(inputs[1]!.dtype, inputs, (condition, a, b) => (condition ? a! : b!)),
};

// --- What model code calls

/** Gives a number the type of the tensor beside it. */
function operands(a: Operand, b: Operand): [Tensor, Tensor] {
  if (a instanceof Tensor) return [a, b instanceof Tensor ? b : constant(b, [], a.dtype)];
  if (b instanceof Tensor) return [constant(a, [], b.dtype), b];
  throw new Error("one of the two operands must be a tensor");
}

const one = (op: Operator<Plain>) => (x: Tensor) => apply(op, [x], {});
const two = (op: Operator<Plain>) => (a: Operand, b: Operand) => apply(op, operands(a, b), {});

export const add = two(Add);
export const sub = two(Sub);
export const mul = two(Mul);
export const div = two(Div);
export const pow = two(Pow);
export const maximum = two(Max);
export const minimum = two(Min);
export const equal = two(Equal);
export const less = two(Less);
export const lessOrEqual = two(LessOrEqual);
export const greater = two(Greater);
export const greaterOrEqual = two(GreaterOrEqual);
export const and = two(And);
export const or = two(Or);
export const not = one(Not);
export const neg = one(Neg);
export const abs = one(Abs);
export const exp = one(Exp);
export const log = one(Log);
export const sqrt = one(Sqrt);
export const reciprocal = one(Reciprocal);
export const sin = one(Sin);
export const cos = one(Cos);
export const tanh = one(Tanh);
export const sigmoid = one(Sigmoid);
export const softplus = one(Softplus);
export const relu = one(Relu);
export const erf = one(Erf);
export const gelu = one(Gelu);
export const identity = one(Identity);
export const detach = one(Detach);

/** `a` where the condition holds, else `b`; all broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return apply(Where, [condition, ...operands(a, b)], {});
}

export function cast(x: Tensor, to: DType): Tensor {
  if (!(to in dtypes)) throw new Error(`Cast: there is no type ${to}`);
  return x.dtype === to ? x : apply(Cast, [x], { to });
}

/**
 * The error function in double precision: its Maclaurin series near zero, the continued fraction of
 * erfc (Abramowitz and Stegun 7.1.5 and 7.1.14) elsewhere.
 */
function erfReference(x: number): number {
  const magnitude = Math.abs(x);
  if (magnitude < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 200; n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (magnitude + fraction);
  const complement = Math.exp(-magnitude * magnitude) / Math.sqrt(Math.PI) / (magnitude + fraction);
  return Math.sign(x) * (1 - complement);
}
