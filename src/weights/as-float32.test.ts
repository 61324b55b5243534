import assert from "node:assert/strict";
import { test } from "node:test";
import { asFloat32 } from "./as-float32.js";

test("float32 is given as it is, without a copy", () => {
  const data = Float32Array.of(1, 2);
  assert.equal(asFloat32({ dtype: "F32", shape: [2], data }), data);
});

test("half precision: normal, subnormal, signed zero, infinity and NaN", () => {
  const bits = [0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x03ff, 0x3555, 0x0000, 0x7c00, 0xfc00];
  const expected = [1, -2, 65504, 2 ** -14, 2 ** -24, 1023 * 2 ** -24, 1365 / 4096, 0];
  const values = asFloat32({ dtype: "F16", shape: [10], data: Uint16Array.from(bits) });
  assert.deepEqual([...values], [...expected, Infinity, -Infinity]);
  const special = asFloat32({ dtype: "F16", shape: [2], data: Uint16Array.of(0x8000, 0x7e00) });
  assert.ok(Object.is(special[0], -0));
  assert.ok(Number.isNaN(special[1]));
});

test("bfloat16 is the upper half of float32", () => {
  const bits = [0x3f80, 0xc000, 0x4049, 0x0001, 0x7f80, 0x7fc0];
  const values = asFloat32({ dtype: "BF16", shape: [6], data: Uint16Array.from(bits) });
  assert.deepEqual([...values], [1, -2, 3.140625, 2 ** -133, Infinity, NaN]);
});

test("other dtypes are rounded to the nearest float32", () => {
  const f64 = asFloat32({ dtype: "F64", shape: [2], data: Float64Array.of(Math.PI, 1e300) });
  assert.deepEqual([...f64], [Math.fround(Math.PI), Infinity]);
  const i64 = asFloat32({ dtype: "I64", shape: [2], data: BigInt64Array.of(-3n, 2n ** 40n) });
  assert.deepEqual([...i64], [-3, 2 ** 40]);
  const i32 = asFloat32({ dtype: "I32", shape: [1], data: Int32Array.of(-(2 ** 31)) });
  assert.deepEqual([...i32], [-(2 ** 31)]);
  const bool = asFloat32({ dtype: "BOOL", shape: [2], data: Uint8Array.of(0, 1) });
  assert.deepEqual([...bool], [0, 1]);
});
