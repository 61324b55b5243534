/** What ranks can do together, as one thread tells the other and one rank tells the others. */

/** Arrays that can be sent. */
export type Values = Float32Array | Float64Array | Int32Array | Uint8Array;

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  uint8: Uint8Array,
} as const;

export type DataType = keyof typeof arrays;

export const dataTypes = Object.keys(arrays) as DataType[];

export function dataTypeOf(values: Values): DataType {
  const type = dataTypes.find((name) => values instanceof arrays[name]);
  if (type) return type;
  throw new TypeError(`distributed: expected one of ${dataTypes.join(", ")}`);
}

/** A new array of zeros. */
export function newValues(type: DataType, count: number): Values {
  return new arrays[type](count);
}

export const bytesOf = (type: DataType) => arrays[type].BYTES_PER_ELEMENT;

const kinds = ["barrier", "broadcast", "allReduce", "allGather", "close"] as const;

export interface Operation {
  readonly kind: (typeof kinds)[number];
  readonly type: DataType;
  /** Elements of this rank. */
  readonly count: number;
  /** The rank that sends, in a broadcast; otherwise 0. */
  readonly root: number;
  /** Where the elements lie in this process. */
  readonly address: bigint;
}

/** An operation as it is told to other ranks. Float64 holds every count exactly. */
export function toRecord({ kind, type, count, root }: Operation): Float64Array {
  return Float64Array.of(kinds.indexOf(kind), dataTypes.indexOf(type), count, root);
}

export function fromRecord(record: Float64Array): Operation {
  const [kind, type, count, root] = record as unknown as [number, number, number, number];
  return { kind: kinds[kind]!, type: dataTypes[type]!, count, root, address: 0n };
}

/** Whether two ranks' operations are one and the same. Only what is gathered may differ in length. */
export function agree(a: Operation, b: Operation): boolean {
  return (
    a.kind === b.kind &&
    a.type === b.type &&
    a.root === b.root &&
    (a.count === b.count || a.kind === "allGather")
  );
}

export function describe({ kind, type, count, root }: Operation): string {
  if (kind === "barrier" || kind === "close") return kind;
  return `${kind} of ${count} ${type}${kind === "broadcast" ? ` from rank ${root}` : ""}`;
}
