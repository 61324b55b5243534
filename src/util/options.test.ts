import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { parseOptions, unknownOption } from "./options.js";

const schema = z.strictObject({
  depth: z.int().positive().default(6),
  dimHead: z.int().positive().default(64),
  encoder: z
    .strictObject({ heads: z.int().positive(), causal: z.boolean().optional() })
    .default({ heads: 8 }),
});

test("defaults are filled in, and given options kept", () => {
  assert.deepEqual(parseOptions(schema, { depth: 2 }, "model"), {
    depth: 2,
    dimHead: 64,
    encoder: { heads: 8 },
  });
});

test("the nearest option is suggested for an unknown one, at every depth", () => {
  assert.throws(() => parseOptions(schema, { dimhead: 3 }, "model"), {
    name: "ClipsmithError",
    message: 'model: there is no option "dimhead"; did you mean "dimHead"?',
  });
  assert.throws(() => parseOptions(schema, { encoder: { head: 3, heads: 2 } }, "model"), {
    message: 'model: encoder: there is no option "head"; did you mean "heads"?',
  });
  // Near the outer "depth", but that is no option in here.
  assert.throws(() => parseOptions(schema, { encoder: { dept: 3, heads: 2 } }, "model"), {
    message: 'model: encoder: there is no option "dept"',
  });
});

test("what every object has is no option", () => {
  for (const name of ["__proto__", "constructor", "toString"]) {
    const options = { encoder: JSON.parse(`{ "heads": 2, "${name}": 1 }`) };
    assert.throws(() => parseOptions(schema, options, "model"), {
      message: `model: encoder: there is no option "${name}"`,
    });
  }
});

test("all problems are told at once, with their paths", () => {
  assert.throws(
    () => parseOptions(schema, { depth: 0.5, encoder: { heads: "8" }, zebra: 1 }, "config.json"),
    ({ message }: Error) => {
      assert.match(message, /^config\.json: /);
      assert.match(message, /depth: expected an integer from 1, got 0\.5;/);
      assert.match(message, /encoder\.heads: expected an integer from 1, got "8"/);
      assert.match(message, /there is no option "zebra"(;|$)/);
      return true;
    },
  );
});

test("what is no object at all is refused", () => {
  assert.throws(() => parseOptions(schema, 7, "model"), {
    name: "ClipsmithError",
    message: /^model: expected options by name, such as depth, dimHead, encoder, got 7$/,
  });
});

test("only near names are suggested", () => {
  assert.match(unknownOption("stepps", ["steps", "minutes"]), /did you mean "steps"/);
  assert.match(unknownOption("learningrate", ["steps", "learningRate"]), /"learningRate"/);
  assert.doesNotMatch(unknownOption("picture", ["steps", "minutes"]), /did you mean/);
  assert.equal(unknownOption("x", []), 'there is no option "x"');
});
