import type { FileHandle } from "node:fs/promises";
import { readFully } from "./read-file.js";
import type { SafetensorsTensor } from "./safetensors.js";
import { arrays } from "./safetensors-header.js";
import type { TorchTensor } from "./torch-tensor.js";

/** Reads a tensor whose storage begins at a file's byte `start`: only what it reaches of the storage. */
export async function readTensor(
  path: string,
  file: FileHandle,
  start: number,
  tensor: TorchTensor,
): Promise<SafetensorsTensor> {
  const reached = emptyReach(tensor);
  const bytes = new Uint8Array(reached.buffer);
  await readFully(path, file, bytes, start + tensor.offset * reached.BYTES_PER_ELEMENT);
  return ordered(tensor, reached);
}

/** A copy of a tensor whose storage is in memory. */
export function copyTensor(tensor: TorchTensor, storage: Uint8Array): SafetensorsTensor {
  const reached = emptyReach(tensor);
  const bytes = reached.BYTES_PER_ELEMENT;
  new Uint8Array(reached.buffer).set(storage.subarray(tensor.offset * bytes, tensor.end * bytes));
  return ordered(tensor, reached);
}

/** Room for what a tensor reaches of its storage. */
function emptyReach({ dtype, offset, end }: TorchTensor) {
  return new arrays[dtype](end - offset);
}

/** A tensor of what it reaches of its storage. */
function ordered(tensor: TorchTensor, reached: ReturnType<typeof emptyReach>): SafetensorsTensor {
  const { dtype, shape } = tensor;
  const data = isContiguous(tensor) ? reached : inOrder(tensor, reached as Float32Array);
  // The table pairs each dtype with its array.
  return { dtype, shape, data } as SafetensorsTensor;
}

/** Whether the elements lie row-major without gaps. */
function isContiguous({ shape, strides, size }: TorchTensor): boolean {
  if (size === 0) return true;
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    // Along an axis of length 1 no step is ever taken.
    if (shape[axis] !== 1 && strides[axis] !== step) return false;
    step *= shape[axis]!;
  }
  return true;
}

/** The elements in row-major order. All kinds of arrays go through one type: they are only copied. */
function inOrder(
  { dtype, shape, strides, size }: TorchTensor,
  reached: Float32Array,
): Float32Array {
  const data = new arrays[dtype](size) as Float32Array;
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < size; to++) {
    data[to] = reached[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return data;
}
