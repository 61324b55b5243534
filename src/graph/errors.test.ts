import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  add,
  and,
  cast,
  chunk,
  concat,
  constant,
  conv,
  crossEntropy,
  type DType,
  div,
  embedding,
  equal,
  exp,
  expand,
  gather,
  gatherElements,
  input,
  layerNorm,
  less,
  linear,
  matmul,
  matrixTranspose,
  max,
  maximum,
  mul,
  neg,
  not,
  pad,
  reshape,
  type Shape,
  slice,
  softmax,
  sub,
  sum,
  topK,
  transpose,
  where,
} from "./index.js";

const of = (...shape: Shape) => input("x", shape);
const typed = (dtype: DType, ...shape: Shape) => input("x", shape, dtype);

/** What goes wrong, and what the message must say: the operator, the axis and the sizes. */
const mistakes: Record<string, [() => unknown, string]> = {
  broadcasting: [
    () => add(of(4, 2, 3), of(5, 3)),
    "Add: [4, 2, 3] and [5, 3] do not broadcast: axis -2 is 2 in one and 5 in the other",
  ],
  "broadcasting a named size": [
    () => mul(of("batch", 3), of(4, 3)),
    "Mul: [batch, 3] and [4, 3] do not broadcast: axis -2 is batch in one and 4 in the other",
  ],
  "mixing types": [
    () => add(of(2), typed("int32", 2)),
    "Add: types differ: float32 and int32; cast one",
  ],
  "two numbers": [() => add(1, 2), "one of the two operands must be a tensor"],
  "a fraction beside whole numbers": [
    () => add(typed("int32", 2), 0.5),
    "constant: 0.5 is not a value of int32",
  ],
  "a fraction beside int64": [
    () => div(typed("int64", 2), 0.5),
    "constant: 0.5 is not a value of int64",
  ],
  "a number too large": [() => constant(256, [], "uint8"), "constant: 256 is not a value of uint8"],
  "too few values": [() => constant([1, 2, 3], [2, 2]), "constant: 3 values do not fill [2, 2]"],
  "a condition of numbers": [
    () => where(of(2), of(2), of(2)),
    "Where: condition must be bool, is float32",
  ],
  "an unknown type": [() => cast(of(2), "float12" as DType), "Cast: there is no type float12"],
  "matmul of a vector": [
    () => matmul(of(3), of(3, 4)),
    "matmul: both need at least two axes, are [3] and [3, 4]",
  ],
  "matmul of unlike sizes": [
    () => matmul(of(2, 3), of(4, 5)),
    "matmul: [2, 3] times [4, 5]: the last axis of the first (3) must equal the last but one of " +
      "the second (4)",
  ],
  "matmul of unlike batches": [
    () => matmul(of(2, 3, 4), of(5, 4, 3)),
    "matmul: [2] and [5] do not broadcast: axis -1 is 2 in one and 5 in the other",
  ],
  linear: [
    () => linear(of(2, 3), of(5, 4)),
    "linear: the last axis of [2, 3] must equal the second of the weights [out, in] [5, 4]",
  ],
  "linear's bias": [
    () => linear(of(2, 3), of(5, 3), of(3)),
    "linear: the bias must be [5], is [3]",
  ],
  reshape: [() => reshape(of(2, 3), [4, 2]), "Reshape: [2, 3] has 6 elements, [4, 2] has 8"],
  "reshape to what is left": [
    () => reshape(of(2, 3), [4, -1]),
    "reshape: [2, 3] is not a multiple of 4",
  ],
  "reshape of a named size": [
    () => reshape(of("batch", 3), [2, "batch"]),
    "Reshape: [batch, 3] has 3*batch elements, [2, batch] has 2*batch",
  ],
  "reshape away from a named size": [
    () => reshape(of(2, 3), ["batch", -1]),
    "reshape: [2, 3] cannot be divided by batch",
  ],
  "reshape to two named sizes": [
    () => reshape(of("a", "b", 2), ["a", "b", 1, 2]),
    "Reshape: [a, b, 1, 2] has more than one named size",
  ],
  transpose: [
    () => transpose(of(2, 3, 4), [0, 2]),
    "Transpose: [0, 2] does not order the axes of [2, 3, 4]",
  ],
  matrixTranspose: [() => matrixTranspose(of(3)), "matrixTranspose: [3] has no two axes"],
  "slice past the end": [
    () => slice(of(2, 3), 1, 1, 5),
    "Slice: [1, 5) does not fit axis 1 of [2, 3]",
  ],
  "slice of a named size": [
    () => slice(of("batch", 3), 0, 1),
    "slice: axis 0 of [batch, 3] has no fixed size",
  ],
  "an axis that is not there": [
    () => sum(of(2, 3), 2),
    "ReduceSum: axis 2 does not exist in a tensor of 2 axes",
  ],
  "softmax along an axis that is not there": [
    () => softmax(of(2, 3), -3),
    "softmax: axis -3 does not exist in a tensor of 2 axes",
  ],
  chunk: [() => chunk(of(2, 5), 2, 1), "chunk: axis 1 (5) of [2, 5] does not divide by 2"],
  pad: [
    () => pad(of(2, 3), [1], [0, 0]),
    "Pad: [1, 0, 0] is not two counts for each axis of [2, 3]",
  ],
  concat: [
    () => concat([of(2, 3), of(2, 4)], 0),
    "Concat: [2, 3] and [2, 4] do not join along axis 0: axis 1 is 3 in one and 4 in the other",
  ],
  "concat of unlike ranks": [
    () => concat([of(2, 3), of(3)], 0),
    "Concat: [2, 3] and [3] do not join along axis 0: one has more axes",
  ],
  "concat along a named size": [
    () => concat([of("batch", 3), of(2, 3)], 0),
    "Concat: [batch, 3] and [batch, 3] do not join along axis 0: that axis (batch) needs a fixed size",
  ],
  "concat of nothing": [() => concat([], 0), "concat: there is nothing to join"],
  expand: [
    () => expand(of(3), [2, 4]),
    "Expand: [3] and [2, 4] do not broadcast: axis -1 is 3 in one and 4 in the other",
  ],
  "expand to less": [() => expand(of(2, 3), [3]), "Expand: [2, 3] does not expand to [3]"],
  gather: [() => gather(of(4, 3), of(2)), "Gather: indices must be int32 or int64, are float32"],
  embedding: [
    () => embedding(of(4, 3), typed("uint8", 2)),
    "Gather: indices must be int32 or int64, are uint8",
  ],
  gatherElements: [
    () => gatherElements(of(4, 3), typed("int64", 5, 1), 1),
    "GatherElements: indices [5, 1] must match data [4, 3] in every axis but 1",
  ],
  crossEntropy: [
    () => crossEntropy(of(4, 3), typed("int64", 5)),
    "GatherElements: indices [5, 1] must match data [4, 3] in every axis but 1",
  ],
  topK: [() => topK(of(2, 3), 4), "TopK: asks for 4 of the 3 elements along axis 1 of [2, 3]"],
  layerNorm: [
    () => layerNorm(of(2, 3), of(2)),
    "layerNorm: the gain must be [3] for [2, 3], is [2]",
  ],
  "conv of something else than pictures": [
    () => conv(of(3, 8, 8), of(4, 3, 2, 2)),
    "conv: pictures must be [B, C, H, W], are [3, 8, 8]",
  ],
  "conv with other channels": [
    () => conv(of(1, 3, 8, 8), of(4, 1, 2, 2)),
    "conv: kernels must be [O, 3, h, w], are [4, 1, 2, 2]",
  ],
  "conv with too large kernels": [
    () => conv(of(1, 3, 8, 8), of(4, 3, 9, 9)),
    "conv: kernels [4, 3, 9, 9] exceed [1, 3, 8, 8]",
  ],
};

describe("mistakes are told while tracing", () => {
  for (const [name, [trace, message]] of Object.entries(mistakes)) {
    test(name, () => assert.throws(trace, { message }));
  }
});

test("arithmetic refuses bools", () => {
  const flag = typed("bool", 2, 2);
  for (const f of [add, sub, mul, div, maximum, less]) {
    assert.throws(() => f(flag, flag), /: does not take bool; cast it first$/);
  }
  assert.throws(() => neg(flag), { message: "Neg: does not take bool; cast it first" });
  assert.throws(() => sum(flag, 0), { message: "ReduceSum: does not take bool; cast it first" });
  assert.throws(() => max(flag, 0), { message: "ReduceMax: does not take bool; cast it first" });
  assert.throws(() => matmul(flag, flag), { message: "matmul: does not take bool; cast it first" });
  assert.equal(equal(flag, flag).dtype, "bool");
});

test("functions of floats refuse whole numbers, and logic refuses numbers", () => {
  const whole = typed("int32", 2);
  assert.throws(() => exp(whole), { message: "Exp: does not take int32; cast it first" });
  assert.throws(() => softmax(whole), { message: "softmax: does not take int32; cast it first" });
  assert.throws(() => and(whole, whole), { message: "And: does not take int32; cast it first" });
  assert.throws(() => not(whole), { message: "Not: does not take int32; cast it first" });
});
