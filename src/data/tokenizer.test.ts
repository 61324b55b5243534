import assert from "node:assert/strict";
import { test } from "node:test";
import { OpenAITokenizer } from "./openai-tokenizer.js";
import type { Tokenizer } from "./tokenizer.js";
import { trainTokenizer } from "./trained-tokenizer.js";

const LONG = "a dog runs over the grass";

for (const [name, tokenizer] of [
  ["trained", trainTokenizer([LONG, LONG])],
  ["OpenAI's", new OpenAITokenizer([["d", "o"]])],
] satisfies [string, Tokenizer][]) {
  const { padId, bosId, eosId } = tokenizer;
  const length = tokenizer.encode(LONG).length;

  test(`${name}: short texts are filled up, long ones cut, with the end kept`, () => {
    const dog = tokenizer.encode("do");
    const long = tokenizer.encode(LONG);
    assert.ok(dog.length < length - 1);
    const padding = (count: number) => Array(count).fill(padId);
    assert.deepEqual(
      [...tokenizer.encodeBatch(["do", LONG, ""], length - 1)],
      [
        ...[...dog, ...padding(length - 1 - dog.length)],
        ...long.slice(0, -1),
        ...padding(length - 1),
      ],
    );
    assert.deepEqual(
      [...tokenizer.encodeBatch(["do", LONG, ""], length, { addEos: true })],
      [
        ...[...dog, eosId, ...padding(length - 1 - dog.length)],
        ...[...long.slice(0, -1), eosId],
        ...[eosId, ...padding(length - 1)],
      ],
    );
  });

  test(`${name}: long texts are refused if they may not be cut`, () => {
    const truncate = false;
    assert.deepEqual(
      tokenizer.encodeBatch([LONG], length, { truncate }),
      tokenizer.encodeBatch([LONG], length),
    );
    assert.throws(() => tokenizer.encodeBatch(["do", LONG], length - 1, { truncate }), {
      name: "ClipsmithError",
      message:
        `Text 2, "${LONG}", has ${length} tokens; at most ${length - 1} fit. ` +
        "Shorten it, or let it be cut by truncate: true.",
    });
    // The end token counts.
    assert.throws(
      () => tokenizer.encodeBatch([LONG], length, { truncate, addEos: true }),
      new RegExp(`has ${length + 1} tokens; at most ${length} fit`),
    );
  });

  test(`${name}: a start token is added where there is one`, () => {
    const rows = () => [...tokenizer.encodeBatch(["do"], 9, { addBos: true })];
    if (bosId === undefined) assert.throws(rows, /leave out addBos/);
    else assert.equal(rows()[0], bosId);
  });

  test(`${name}: no texts are no rows, and an empty one is padding`, () => {
    assert.deepEqual(tokenizer.encodeBatch([], 5), new Int32Array(0));
    assert.deepEqual(tokenizer.encode(""), []);
    assert.deepEqual(tokenizer.encodeBatch([""], 3), new Int32Array(3).fill(padId));
  });

  test(`${name}: a row has room for a token at least`, () => {
    for (const none of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => tokenizer.encodeBatch(["do"], none), /must be 1 or more/);
    }
  });
}
