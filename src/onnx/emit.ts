import {
  type Data,
  type DType,
  dtypes,
  type Graph,
  type Node,
  type Tensor,
} from "../graph/index.js";
import {
  type AttributeProto,
  encodeModel,
  type NodeProto,
  type TensorProto,
  type ValueInfo,
} from "./schema.js";

/** The operator set that the operators' records describe. */
export const OPSET = 21;

/** Numbers of AttributeProto.AttributeType. */
const FLOAT = 1;
const INT = 2;
const STRING = 3;
const INTS = 7;

/** Options of {@link emit}. */
export interface EmitOptions {
  /** Name of the graph inside the file; default `"clipsmith"`. */
  readonly name?: string;
  /** Free text stored with the model, by key. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Serialises a graph as an ONNX model. Inputs and outputs keep their names. */
export function emit(
  { inputs, outputs, nodes }: Graph,
  { name = "clipsmith", metadata = {} }: EmitOptions = {},
): Uint8Array {
  const names = new Names(inputs, outputs);
  const protos = nodes.map((node, i) => nodeProto(node, `${node.operator.name}_${i}`, names));
  for (const [output, tensor] of outputs) {
    const value = names.of(tensor);
    // An output that is an input, a constant or another output needs a node of its own.
    if (value !== output) {
      const copy = { input: [value], output: [output], name: `output_${output}` };
      protos.push({ ...copy, opType: "Identity", attribute: [] });
    }
  }
  return encodeModel({
    irVersion: 10,
    producerName: "clipsmith",
    opsetImport: [{ domain: "", version: OPSET }],
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    graph: {
      name,
      node: protos,
      initializer: [...names.constants.values()],
      input: [...inputs].map(([input, tensor]) => valueInfo(input, tensor)),
      output: [...outputs].map(([output, tensor]) => valueInfo(output, tensor)),
    },
  });
}

/** Gives every value of the graph a name, and collects the constants on the way. */
class Names {
  /** Equal constants are stored once; the key is their type and bytes. */
  readonly constants = new Map<string, TensorProto>();
  readonly #names = new Map<Tensor, string>();
  /** Names that the graph gives to its inputs and outputs. */
  readonly #taken: ReadonlySet<string>;
  #count = 0;

  constructor(inputs: Graph["inputs"], outputs: Graph["outputs"]) {
    this.#taken = new Set([...inputs.keys(), ...outputs.keys()]);
    for (const [name, tensor] of inputs) this.#names.set(tensor, name);
    for (const [name, tensor] of outputs) {
      if (tensor.source.kind === "node" && !this.#names.has(tensor)) this.#names.set(tensor, name);
    }
  }

  of(tensor: Tensor): string {
    const known = this.#names.get(tensor);
    if (known !== undefined) return known;
    const name =
      tensor.source.kind === "constant"
        ? this.constant(tensor.dtype, tensor.shape as readonly number[], tensor.source.data)
        : this.#fresh("value");
    this.#names.set(tensor, name);
    return name;
  }

  #fresh(kind: string): string {
    const name = `${kind}_${this.#count++}`;
    return this.#taken.has(name) ? this.#fresh(kind) : name;
  }

  constant(dtype: DType, dims: readonly number[], data: Data): string {
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const key = `${dtype} ${dims} ${Buffer.from(rawData).toString("latin1")}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known.name;
    const name = this.#fresh("constant");
    this.constants.set(key, { name, dims, dataType: dtypes[dtype].onnx, rawData });
    return name;
  }
}

function nodeProto(node: Node, name: string, names: Names): NodeProto {
  const input = node.inputs.map((tensor) => names.of(tensor));
  const attribute: AttributeProto[] = [];
  for (const [key, kind] of Object.entries(node.operator.attributes)) {
    const value = node.attributes[key]!;
    switch (kind) {
      case "int":
        attribute.push({ name: key, type: INT, i: value as number });
        break;
      case "ints":
        attribute.push({ name: key, type: INTS, ints: value as readonly number[] });
        break;
      case "float":
        attribute.push({ name: key, type: FLOAT, f: value as number });
        break;
      case "string":
        attribute.push({ name: key, type: STRING, s: new TextEncoder().encode(value as string) });
        break;
      case "dtype":
        attribute.push({ name: key, type: INT, i: dtypes[value as DType].onnx });
        break;
      case "intsInput": {
        // -1 lets the runtime find the one size that has only a name.
        const list = (value as readonly (number | string)[]).map((dim) =>
          BigInt(typeof dim === "string" ? -1 : dim),
        );
        input.push(names.constant("int64", [list.length], BigInt64Array.from(list)));
        break;
      }
      case "inference":
        break;
    }
  }
  const output = node.outputs.map((tensor) => names.of(tensor));
  return { input, output, name, opType: node.operator.name, attribute };
}

function valueInfo(name: string, { dtype, shape }: Tensor): ValueInfo {
  const dim = shape.map((size) =>
    typeof size === "number" ? { dimValue: size } : { dimParam: size },
  );
  return { name, type: { tensorType: { elemType: dtypes[dtype].onnx, shape: { dim } } } };
}
