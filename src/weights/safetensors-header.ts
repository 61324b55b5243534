import { z } from "zod";
import { ClipsmithError } from "../util/errors.js";

/** The array that holds each dtype's numbers. Half precision comes as its bits; booleans as 0 and 1. */
export interface SafetensorsArrays {
  F64: Float64Array;
  F32: Float32Array;
  F16: Uint16Array;
  BF16: Uint16Array;
  I64: BigInt64Array;
  I32: Int32Array;
  I16: Int16Array;
  I8: Int8Array;
  U8: Uint8Array;
  BOOL: Uint8Array;
}

export type SafetensorsDType = keyof SafetensorsArrays;

export const arrays = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const satisfies Record<SafetensorsDType, unknown>;

/** Where a tensor's bytes lie. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly start: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly entries: readonly SafetensorsEntry[];
  readonly metadata: Record<string, string>;
}

/** Bytes of the number before the header that says how long the header is. */
export const LENGTH_BYTES = 8;
/** The format's own bound, against absurd allocations. */
export const MAX_HEADER_BYTES = 100_000_000;

const natural = z.int().nonnegative();
const entrySchema = z.strictObject({
  dtype: z.enum(Object.keys(arrays) as [SafetensorsDType, ...SafetensorsDType[]]),
  shape: z.array(natural),
  data_offsets: z.tuple([natural, natural]),
});
const metadataSchema = z.record(z.string(), z.string());

/**
 * The length of the header of a file of `fileBytes`.
 *
 * @param where names the file in errors
 * @param first the file's first eight bytes, or all of a shorter file
 * @throws ClipsmithError when the length is not credible
 */
export function headerLength(where: string, first: Uint8Array, fileBytes: number): number {
  if (first.length < LENGTH_BYTES) {
    throw new ClipsmithError(
      `${where} is not a safetensors file: expected at least ${LENGTH_BYTES} bytes, found ${first.length}.`,
    );
  }
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new ClipsmithError(
      `${where} is not a safetensors file: expected a header of at most ${MAX_HEADER_BYTES} bytes, found the length ${length}.`,
    );
  }
  if (LENGTH_BYTES + Number(length) > fileBytes) {
    throw new ClipsmithError(
      `${where} is cut short within its header: expected at least ${LENGTH_BYTES + Number(length)} bytes, found ${fileBytes}. Copy or download it again.`,
    );
  }
  return Number(length);
}

/**
 * Parses and checks a header against the format's rules: a JSON object without duplicate keys, whose
 * tensors fill the rest of the file with neither overlap nor hole.
 *
 * @throws ClipsmithError naming the file, the tensor, and what was expected and found
 */
export function parseHeader(
  where: string,
  header: Uint8Array,
  fileBytes: number,
): SafetensorsHeader {
  const parsed = parseObject(where, header);
  const dataStart = LENGTH_BYTES + header.length;
  const entries: SafetensorsEntry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed)) {
    if (name === "__metadata__") {
      const result = metadataSchema.safeParse(value);
      if (!result.success) {
        throw new ClipsmithError(
          `${where}: expected __metadata__ to map strings to strings. ${z.prettifyError(result.error)}`,
        );
      }
      metadata = result.data;
      continue;
    }
    const result = entrySchema.safeParse(value);
    if (!result.success) {
      throw new ClipsmithError(
        `${where}: the entry of tensor ${name} is malformed. ${z.prettifyError(result.error)}`,
      );
    }
    const { dtype, shape, data_offsets: offsets } = result.data;
    const bytes = bytesOf(dtype, shape);
    if (offsets[1] - offsets[0] !== bytes) {
      throw new ClipsmithError(
        `${where}: tensor ${name}: expected ${bytes} bytes for ${dtype} [${shape.join(", ")}], found offsets ${offsets[0]} to ${offsets[1]}.`,
      );
    }
    entries.push({ name, dtype, shape, start: dataStart + offsets[0], bytes });
  }
  // An empty tensor shares its start with the one that follows.
  entries.sort((a, b) => a.start - b.start || a.bytes - b.bytes);
  let end = dataStart;
  for (const { name, start, bytes } of entries) {
    if (start !== end) {
      throw new ClipsmithError(
        `${where}: tensor ${name}: expected its data at offset ${end - dataStart}, where the previous tensor ends, found ${start - dataStart}.`,
      );
    }
    end += bytes;
  }
  if (end !== fileBytes) {
    const fault =
      end > fileBytes
        ? `is cut short within tensor ${entries.find(({ start, bytes }) => start + bytes > fileBytes)!.name}`
        : "has bytes that belong to no tensor";
    throw new ClipsmithError(
      `${where} ${fault}: expected ${end} bytes, found ${fileBytes}. Copy or download it again.`,
    );
  }
  return { entries, metadata };
}

/** Bytes of a tensor. */
export function bytesOf(dtype: SafetensorsDType, shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, arrays[dtype].BYTES_PER_ELEMENT);
}

function parseObject(where: string, header: Uint8Array): object {
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new ClipsmithError(
      `${where} is not a safetensors file: expected a header of JSON in UTF-8. ${cause instanceof Error ? cause.message : ""}`,
      { cause },
    );
  }
  if (!text.startsWith("{") || typeof parsed !== "object" || parsed === null) {
    throw new ClipsmithError(
      `${where} is not a safetensors file: expected its header to begin with {, found ${JSON.stringify(text.slice(0, 1))}.`,
    );
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) {
    throw new ClipsmithError(
      `${where}: expected every key of the header once, found ${JSON.stringify(twice)} twice in the same object.`,
    );
  }
  return parsed;
}

/**
 * The first key that stands twice in one object of a valid JSON text: JSON.parse hides them. A loop,
 * because a regular expression overflows the stack on a long string.
 */
function duplicateKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === "{") {
      objects.push(new Set());
    } else if (character === "}") {
      objects.pop();
    } else if (character === '"') {
      const start = i;
      for (i++; json[i] !== '"'; i++) if (json[i] === "\\") i++;
      let next = i + 1;
      while (" \t\r\n".includes(json[next]!)) next++;
      if (json[next] !== ":") continue;
      const key: string = JSON.parse(json.slice(start, i + 1));
      if (objects.at(-1)!.has(key)) return key;
      objects.at(-1)!.add(key);
    }
  }
  return undefined;
}
