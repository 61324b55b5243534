import type { SafetensorsTensor } from "./safetensors.js";

/**
 * A tensor's numbers as float32: the tensor's own array where it is float32 already, otherwise each
 * number rounded to the nearest float32. Booleans become 0 and 1.
 */
export function asFloat32({ dtype, data }: SafetensorsTensor): Float32Array {
  switch (dtype) {
    case "F32":
      return data;
    case "F16": {
      const table = halfTable();
      const values = new Float32Array(data.length);
      for (let i = 0; i < data.length; i++) values[i] = table[data[i]!]!;
      return values;
    }
    case "BF16": {
      const bits = new Uint32Array(data.length);
      // bfloat16 is the upper half of float32.
      for (let i = 0; i < data.length; i++) bits[i] = data[i]! << 16;
      return new Float32Array(bits.buffer);
    }
    case "I64": {
      const values = new Float32Array(data.length);
      for (let i = 0; i < data.length; i++) values[i] = Number(data[i]!);
      return values;
    }
    default:
      return new Float32Array(data);
  }
}

let halves: Float32Array | undefined;

/** The value of each of the 65536 bit patterns of IEEE 754 half precision. */
function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return exponent === 0
      ? sign * fraction * 2 ** -14
      : sign * (1 + fraction) * 2 ** (exponent - 15);
  });
  return halves;
}
