import type { FileHandle } from "node:fs/promises";
import { ClipsmithError } from "../util/errors.js";
import { replaceFile } from "../util/write-file.js";
import { readFully, withFile } from "./read-file.js";
import {
  arrays,
  bytesOf,
  headerLength,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  type SafetensorsArrays,
  type SafetensorsDType,
  type SafetensorsEntry,
  type SafetensorsHeader,
} from "./safetensors-header.js";

/** A tensor in a safetensors file, row-major. */
export type SafetensorsTensor = {
  readonly [D in SafetensorsDType]: {
    readonly dtype: D;
    /** [] for a scalar. */
    readonly shape: readonly number[];
    readonly data: SafetensorsArrays[D];
  };
}[SafetensorsDType];

export interface Safetensors {
  /** By name, in the order of their bytes in the file. */
  readonly tensors: Map<string, SafetensorsTensor>;
  readonly metadata: Record<string, string>;
}

/**
 * Reads a safetensors file (https://huggingface.co/docs/safetensors), or the bytes of one.
 *
 * Of a file, each tensor is read straight into its own array, whatever the file's size. Of bytes in
 * memory, tensors are views where the alignment allows it and copies where not.
 *
 * @throws ClipsmithError naming the file, the tensor, and what was expected and found, when the file
 *   breaks the format or holds a dtype other than those of {@link SafetensorsArrays}
 */
export async function readSafetensors(source: string | Uint8Array): Promise<Safetensors> {
  if (typeof source !== "string") return readBytes(source);
  return withFile(source, async (file) => {
    const { entries, metadata } = await readHeader(source, file);
    const tensors = new Map<string, SafetensorsTensor>();
    for (const entry of entries) {
      const buffer = new ArrayBuffer(entry.bytes);
      await readFully(source, file, new Uint8Array(buffer), entry.start);
      tensors.set(entry.name, tensorOf(entry, buffer, 0));
    }
    return { tensors, metadata };
  });
}

/**
 * Reads only the header of a safetensors file: which tensors it holds, and where. The file's length is
 * checked against it.
 *
 * @throws ClipsmithError like {@link readSafetensors}
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  return withFile(path, (file) => readHeader(path, file));
}

/**
 * Writes a safetensors file, replacing an old one only once the new one is complete and on the disk.
 *
 * Tensors are written one by one from their arrays, those of wide dtypes first, and the header is
 * padded with spaces to a multiple of eight bytes: so every tensor is aligned in the file.
 *
 * @returns the file's SHA-256, in hexadecimal digits
 * @throws ClipsmithError when a tensor's data does not fit its shape, or when the disk is full: the old
 *   file is kept then, and the message says how many bytes were needed
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<string> {
  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) header.push(["__metadata__", metadata]);
  const sorted = [...tensors].sort(
    ([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT,
  );
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of sorted) {
    if (name === "__metadata__") {
      throw new ClipsmithError(`${path}: no tensor may be called __metadata__. Rename it.`);
    }
    const bytes = bytesOf(dtype, shape);
    if (data.byteLength !== bytes) {
      throw new ClipsmithError(
        `${path}: tensor ${name}: expected ${bytes} bytes for ${dtype} [${shape.join(", ")}], found ${data.byteLength}.`,
      );
    }
    header.push([name, { dtype, shape, data_offsets: [offset, offset + bytes] }]);
    parts.push(new Uint8Array(data.buffer, data.byteOffset, bytes));
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new ClipsmithError(
      `${path}: names, shapes and metadata take ${headerBytes} bytes, and safetensors allows ${MAX_HEADER_BYTES}. Shorten the metadata.`,
    );
  }
  const start = Buffer.alloc(LENGTH_BYTES + headerBytes, " ");
  start.writeBigUInt64LE(BigInt(headerBytes));
  json.copy(start, LENGTH_BYTES);
  return replaceFile(path, [start, ...parts]);
}

function readBytes(source: Uint8Array): Safetensors {
  const where = "The safetensors data";
  const length = headerLength(where, source.subarray(0, LENGTH_BYTES), source.length);
  const header = source.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
  const { entries, metadata } = parseHeader(where, header, source.length);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const entry of entries) {
    const start = source.byteOffset + entry.start;
    const aligned = start % arrays[entry.dtype].BYTES_PER_ELEMENT === 0;
    const tensor = aligned
      ? tensorOf(entry, source.buffer, start)
      : tensorOf(entry, copyOf(source, entry), 0);
    tensors.set(entry.name, tensor);
  }
  return { tensors, metadata };
}

/** Not `slice`, which makes no copy of a Buffer. */
function copyOf(source: Uint8Array, { start, bytes }: SafetensorsEntry): ArrayBuffer {
  return new Uint8Array(source.subarray(start, start + bytes)).buffer;
}

function tensorOf(
  { dtype, shape, bytes }: SafetensorsEntry,
  buffer: ArrayBufferLike,
  start: number,
): SafetensorsTensor {
  const TypedArray = arrays[dtype];
  const data = new TypedArray(buffer as ArrayBuffer, start, bytes / TypedArray.BYTES_PER_ELEMENT);
  // The table pairs each dtype with its array.
  return { dtype, shape, data } as SafetensorsTensor;
}

async function readHeader(path: string, file: FileHandle): Promise<SafetensorsHeader> {
  const { size } = await file.stat();
  const first = new Uint8Array(Math.min(LENGTH_BYTES, size));
  await readFully(path, file, first, 0);
  const header = new Uint8Array(headerLength(path, first, size));
  await readFully(path, file, header, LENGTH_BYTES);
  return parseHeader(path, header, size);
}
