import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJson } from "./json.js";

test("what Python writes for numbers that are none is null, outside of strings", () => {
  for (const [text, value] of [
    ['{"a": 1}', { a: 1 }],
    ['{"a": NaN, "b": [Infinity,-Infinity]}', { a: null, b: [null, null] }],
    ["NaN", null],
    ['{"a": "NaN, \\"NaN\\" and Infinity", "b": NaN}', { a: 'NaN, "NaN" and Infinity', b: null }],
    ['{"NaN": NaN, "\\\\": -Infinity}', { NaN: null, "\\": null }],
  ] as const) {
    assert.deepEqual(parseJson(text), value, text);
  }
});

test("what is no JSON is none", () => {
  for (const text of ["", "{oops}", '{"a": NaNo}', '{"a": NaN', '{"a": "NaN', "-NaN-"]) {
    assert.throws(() => parseJson(text), SyntaxError, text);
  }
  // A string that does not end takes no time that grows with its square.
  assert.throws(() => parseJson(`{"a": NaN, "${'\\"'.repeat(200_000)}`), SyntaxError);
});
