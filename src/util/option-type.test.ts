import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { describeType, inWords, optionType } from "./option-type.js";

test("types are told with their bounds, as far as they have any", () => {
  const types: readonly [z.ZodType, string][] = [
    [z.int(), "integer"],
    [z.int().positive(), "integer from 1"],
    [z.int().min(0).max(255).default(3), "integer 0 to 255"],
    [z.number(), "number"],
    [z.number().positive(), "number above 0"],
    [z.number().min(0).lt(1).optional(), "number from 0, below 1"],
    [z.number().gt(0).max(1), "number above 0, up to 1"],
    [z.number().max(-1), "number up to -1"],
    [z.number().min(1).nullable().default(null), "number from 1, or null"],
    [z.boolean().default(false), "boolean"],
    [z.string(), "text"],
    [z.literal(1), "1"],
    [z.enum(["a", "b", "c"]), '"a", "b" or "c"'],
    [z.union([z.int(), z.string()]), "integer or text"],
    [z.array(z.int().min(0)), "list of integers from 0"],
    [z.tuple([z.number().min(0), z.number().min(0)]).refine(() => true), "two numbers from 0"],
    [z.strictObject({ a: z.int() }).prefault({ a: 1 }), "object"],
  ];
  for (const [schema, words] of types) assert.equal(describeType(schema), words);
});

test("types are parts of sentences", () => {
  assert.equal(inWords(z.int().min(2)), "an integer from 2");
  assert.equal(inWords(z.number()), "a number");
  assert.equal(inWords(z.boolean()), "true or false");
  assert.equal(inWords(z.enum(["a", "b"])), '"a" or "b"');
  const four = z.object({ a: z.int(), b: z.int(), c: z.int(), d: z.int() });
  assert.equal(inWords(four), "options by name, such as a, b, c");
});

test("an option's type is found below its default and whether it may be left out", () => {
  const type = z.int();
  for (const schema of [type, type.default(1), type.optional(), type.prefault(1).optional()]) {
    assert.equal(optionType(schema), type);
  }
});
