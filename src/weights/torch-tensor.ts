import type { SafetensorsDType } from "./safetensors-header.js";

/** A tensor of a checkpoint: a view of a storage, whose numbers are read on request. */
export class TorchTensor {
  readonly storage: TorchStorage;
  /** [] for a scalar. */
  readonly shape: readonly number[];
  /** Steps along each axis, in elements of the storage. */
  readonly strides: readonly number[];
  /** The first element. */
  readonly offset: number;

  constructor(
    storage: TorchStorage,
    offset: number,
    shape: readonly number[],
    strides: readonly number[],
  ) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }

  get dtype(): SafetensorsDType {
    return this.storage.dtype;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, length) => product * length, 1);
  }

  /** One past the last element that the view reaches in its storage; the offset if it is empty. */
  get end(): number {
    if (this.size === 0) return this.offset;
    return this.shape.reduce(
      (end, length, axis) => end + (length - 1) * this.strides[axis]!,
      this.offset + 1,
    );
  }
}

/** Numbers that several tensors can be views of: in a file of their own inside the archive, or in memory. */
export class TorchStorage {
  /** The name of its file; empty where there is none. */
  readonly key: string;
  readonly dtype: SafetensorsDType;
  /** Number of elements. */
  readonly length: number;
  /** The numbers of an array of numpy's, which lie in the pickle itself. */
  readonly bytes: Uint8Array | undefined;

  constructor(key: string, dtype: SafetensorsDType, length: number, bytes?: Uint8Array) {
    this.key = key;
    this.dtype = dtype;
    this.length = length;
    this.bytes = bytes;
  }
}

/** As many axes as torch and numpy know. */
const MAX_AXES = 64;

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Whether a value can be a shape. */
export function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= MAX_AXES && value.every(isCount);
}
