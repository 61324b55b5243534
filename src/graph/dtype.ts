/** The element types of tensors: their number in ONNX, bytes an element, and the array that holds them. */
export const dtypes = {
  float32: { onnx: 1, bytes: 4, array: Float32Array },
  float64: { onnx: 11, bytes: 8, array: Float64Array },
  int32: { onnx: 6, bytes: 4, array: Int32Array },
  int64: { onnx: 7, bytes: 8, array: BigInt64Array },
  uint8: { onnx: 2, bytes: 1, array: Uint8Array },
  bool: { onnx: 9, bytes: 1, array: Uint8Array },
} as const;

/** Name of an element type. */
export type DType = keyof typeof dtypes;

/** A typed array of elements. */
export type Data = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;

export function isFloat(dtype: DType): boolean {
  return dtype === "float32" || dtype === "float64";
}

/** Whether arithmetic is defined on it: every type but bool. */
export function isNumber(dtype: DType): boolean {
  return dtype !== "bool";
}
