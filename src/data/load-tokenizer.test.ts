import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { ClipsmithError } from "../util/errors.js";
import { loadTokenizer } from "./load-tokenizer.js";
import { OpenAITokenizer } from "./openai-tokenizer.js";
import { ALPHABET } from "./openai-tokenizer-file.js";
import { TrainedTokenizer, trainTokenizer } from "./trained-tokenizer.js";

const HEADER = "bpe_simple_vocab_16e6.txt#version: 0.2";
/** As many as CLIP has, and one more, as OpenAI's file has more than it uses. */
const LINES = 48_894 + 1;

/** "do", "dog", then any two bytes. */
const LIST = ["d o", "do g</w>"];
for (const { token: left } of ALPHABET.slice(0, 256)) {
  for (const { token: right } of ALPHABET.slice(0, 256)) {
    const line = `${left} ${right}`;
    if (LIST.length < LINES && line !== LIST[0]) LIST.push(line);
  }
}
const MERGES = [HEADER, ...LIST, ""].join("\n");

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "clipsmith-load-tokenizer-"));
});
after(() => rm(folder, { recursive: true }));

async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

test("OpenAI's merges are read from a text file, packed or not", async () => {
  for (const path of [
    await file("merges.txt", MERGES),
    await file("merges.txt.gz", gzipSync(MERGES)),
    await file("windows.txt", MERGES.replaceAll("\n", "\r\n")),
  ]) {
    const tokenizer = await loadTokenizer(path);
    assert.ok(tokenizer instanceof OpenAITokenizer);
    assert.equal(tokenizer.vocabularySize, 49_408);
    assert.deepEqual(
      tokenizer.encode("dog", { addBos: true, addEos: true }),
      [49_406, 513, 49_407],
    );
  }
});

test("a saved tokenizer is recognised", async () => {
  const path = join(folder, "tokenizer.json");
  const openai = new OpenAITokenizer([["d", "o"]]);
  await openai.save(path);
  const loaded = await loadTokenizer(path);
  assert.ok(loaded instanceof OpenAITokenizer);
  assert.deepEqual(loaded.toJSON(), openai.toJSON());
  await trainTokenizer(["a dog"]).save(path);
  assert.ok((await loadTokenizer(path)) instanceof TrainedTokenizer);
});

test("a CLIP model's tokenizer.json is read however its library wrote it", async () => {
  const ours = JSON.parse(JSON.stringify(new OpenAITokenizer([["d", "o"]])));
  const { type: _, ...model } = ours.model;
  const theirs = {
    ...ours,
    post_processor: { type: "RobertaProcessing", sep: ["<|endoftext|>", 514] },
    decoder: { type: "ByteLevel" },
    model: { ...model, merges: [["d", "o"]] },
  };
  const loaded = await loadTokenizer(await file("theirs.json", JSON.stringify(theirs)));
  assert.deepEqual(loaded.encode("do"), new OpenAITokenizer([["d", "o"]]).encode("do"));
});

test("what is no tokenizer is refused, with the file's name and the reason", async () => {
  const openai = JSON.parse(JSON.stringify(new OpenAITokenizer([["d", "o"]])));
  const { model } = openai;
  const packed = gzipSync(MERGES);
  for (const [name, content, reason] of [
    ["notes.txt", "my notes\n", /neither a tokenizer\.json nor OpenAI's file of merges/],
    ["empty.txt", "", /neither a tokenizer\.json nor/],
    ["short.txt", MERGES.slice(0, 1000), /has \d+ merges, CLIP has 48894\. Is the file cut off/],
    ["short.txt.gz", packed.subarray(0, packed.length / 2), /unexpected end of file/],
    ["wrong.txt", MERGES.replace("d o\n", "do\n"), /Line 2, "do", is no merge/],
    ["order.txt", MERGES.replace("d o\n", "do x\n"), /merge "do x" has a part that is no token/],
    [
      "wordpiece.json",
      JSON.stringify({ ...openai, model: { ...model, type: "WordPiece" } }),
      /no tokenizer\.json with a BPE model[\s\S]*expected "BPE"/,
    ],
    [
      "order.json",
      JSON.stringify({ ...openai, model: { ...model, vocab: { ...model.vocab, do: 7 } } }),
      /"vocab" is not that of a CLIP model/,
    ],
  ] as const) {
    const path = await file(name, content);
    await assert.rejects(loadTokenizer(path), (error) => {
      assert.ok(error instanceof ClipsmithError);
      assert.ok(error.message.startsWith(`Can't load the tokenizer ${path}: `), error.message);
      assert.match(error.message, reason);
      return true;
    });
  }
  await assert.rejects(loadTokenizer(join(folder, "none.txt")), /none\.txt: ENOENT/);
});
