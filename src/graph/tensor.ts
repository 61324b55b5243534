import { type Data, type DType, dtypes, isFloat } from "./dtype.js";
import { elementCount, formatShape, type Shape } from "./shape.js";

/** What is known of a tensor before it has a value. */
export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A tensor's value in plain JavaScript, row-major; what references compute with. */
export interface Value {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Exact for every type but int64 beyond 2^53; floats are not rounded to float32. */
  readonly data: Float64Array;
}

export type Attribute = number | string | readonly number[] | Shape;
export type Attributes = Readonly<Record<string, Attribute>>;

/**
 * How ONNX stores an attribute. `intsInput` is not an attribute there but a constant int64 input after
 * the tensors, in the order in which the operator lists them. `inference` is for the trace alone: ONNX
 * finds it out when the graph runs.
 */
export type AttributeKind =
  | "int"
  | "ints"
  | "float"
  | "string"
  | "dtype"
  | "intsInput"
  | "inference";

/** What a gradient rule sees of the node it differentiates. */
export interface Differentiated<A extends Attributes = Attributes> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attributes: A;
  /** Gradients of the outputs by place; undefined where nothing depends on that output. */
  readonly gradients: readonly (Tensor | undefined)[];
}

/**
 * The gradient with respect to one input, from `gradient`, that of the first output. It may be larger
 * than the input where the operator broadcasts: the walk sums it back to the input's shape.
 */
export type GradientRule<A extends Attributes = Attributes> = (
  gradient: Tensor,
  node: Differentiated<A>,
) => Tensor;

/** Everything Clipsmith knows of one ONNX operator. */
export interface Operator<A extends Attributes = Attributes> {
  /** The ONNX operator type. */
  readonly name: string;
  readonly attributes: { readonly [K in keyof A]: AttributeKind };
  /** Types of the outputs. Throws, naming axes, where the inputs do not fit. */
  infer(inputs: readonly TensorType[], attributes: A): readonly TensorType[];
  /** One rule an input, or one rule for every input by its place; null: not differentiable. */
  readonly gradients:
    | readonly (GradientRule<A> | null)[]
    | ((input: number) => GradientRule<A> | null);
  /** The slow, obvious implementation; the oracle of tests. */
  reference(inputs: readonly Value[], attributes: A): readonly Value[];
}

/** One application of an operator. */
export interface Node {
  // biome-ignore lint/suspicious/noExplicitAny: attributes are typed where the operator is applied.
  readonly operator: Operator<any>;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
  /** Counts nodes in the order in which they are made: a node's is above those of all it depends on. */
  readonly serial: number;
}

/** Where a tensor comes from. */
export type Source =
  | { readonly kind: "input"; readonly name: string }
  | { readonly kind: "constant"; readonly data: Data }
  | { readonly kind: "node"; readonly node: Node; readonly index: number };

/** A symbolic, immutable tensor. A graph is whatever its output tensors depend on. */
export class Tensor implements TensorType {
  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
    readonly source: Source,
  ) {}

  get rank(): number {
    return this.shape.length;
  }

  /** `float32[batch, 16]`. */
  toString(): string {
    return `${this.dtype}${formatShape(this.shape)}`;
  }
}

/** A value given when the graph runs. */
export function input(name: string, shape: Shape, dtype: DType = "float32"): Tensor {
  return new Tensor(dtype, shape, { kind: "input", name });
}

/** A value fixed in the graph. `values` fills `shape` row by row; a single number fills all of it. */
export function constant(
  values: number | ArrayLike<number>,
  shape: readonly number[] = typeof values === "number" ? [] : [values.length],
  dtype: DType = "float32",
): Tensor {
  const count = elementCount(shape);
  const list: ArrayLike<number> =
    typeof values === "number" ? new Float64Array(count).fill(values) : values;
  if (list.length !== count) {
    throw new Error(`constant: ${list.length} values do not fill ${formatShape(shape)}`);
  }
  const data =
    dtype === "int64"
      ? BigInt64Array.from({ length: count }, (_, i) => BigInt(Math.trunc(list[i]!) || 0))
      : new dtypes[dtype].array(list);
  // Whole numbers must neither round nor wrap in silence: `add(labels, 0.5)` is a mistake.
  for (let i = 0; i < count && !isFloat(dtype); i++) {
    if (Number(data[i]) !== list[i]) {
      throw new Error(`constant: ${list[i]} is not a value of ${dtype}`);
    }
  }
  return new Tensor(dtype, shape, { kind: "constant", data });
}

let nodesMade = 0;

/** The serial number that the next node will have. */
export function nextSerial(): number {
  return nodesMade;
}

/** Applies an operator and returns all its outputs. */
export function applyAll<A extends Attributes>(
  operator: Operator<A>,
  inputs: readonly Tensor[],
  attributes: A,
): readonly Tensor[] {
  const outputs: Tensor[] = [];
  const node: Node = { operator, inputs, attributes, outputs, serial: nodesMade++ };
  for (const [index, type] of operator.infer(inputs, attributes).entries()) {
    outputs.push(new Tensor(type.dtype, type.shape, { kind: "node", node, index }));
  }
  return outputs;
}

/** Applies an operator and returns its first output. */
export function apply<A extends Attributes>(
  operator: Operator<A>,
  inputs: readonly Tensor[],
  attributes: A,
): Tensor {
  return applyAll(operator, inputs, attributes)[0]!;
}
