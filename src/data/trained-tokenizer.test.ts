import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { ClipsmithError } from "../util/errors.js";
import { type Random, random } from "../util/random.js";
import { loadTokenizer } from "./load-tokenizer.js";
import { EOS_ID, PAD_ID, TrainedTokenizer, trainTokenizer } from "./trained-tokenizer.js";

const CAPTIONS = [
  "A dog runs over the grass.",
  "The dog's ball lies in the grass",
  "Two dogs and a cat in the grass, 1990",
  "Ein Hund läuft über die Wiese",
  "Ein Hund schläft auf der Wiese",
  "草地上的狗在跑",
  "草地上的猫在睡觉",
  "❤️ a dog 👨‍👩‍👧 and their dog ❤️",
  "किताब और कुत्ता, किताब और बिल्ली",
];

/** What is left of a text after a round trip. */
function normalised(text: string, lowerCase: boolean): string {
  // A lone surrogate does not survive UTF-8.
  let normal = new TextDecoder("utf-8", { ignoreBOM: true })
    .decode(new TextEncoder().encode(text))
    .normalize("NFKC");
  if (lowerCase) normal = normal.toLowerCase().normalize("NFC");
  return normal.replace(/[\s\u0085\ufeff]+/g, " ").replace(/^ | $/g, "");
}

const NASTY = [
  "",
  " ",
  "\u0085\ufeff\u00a0\t\n",
  "[PAD] [EOS][PAD]",
  "[pad]",
  "<0x0A> </w> Ġ Ċ ▁",
  "'s ’s dog's dogs’ it's'S",
  "e\u0301 \u0301 \u0301e J\u030c İ ΟΔΟΣ ß ẞ ﬁ ™ ½ Ｔシャツ ﾃｽﾄ \ufdfa",
  "👩🏽‍🚀🏳️‍🌈🇩🇪1️⃣ ❤️❤",
  "\ud800 \udc00 \udc00\ud800 x\ud83d",
  "\0\u0001\u001f\u007f\u00ad\u200b\u200e\u202e\u2060\ufffe\uffff\u{10ffff}",
  "ก็ไม่ได้ క్షేత్రం ம் می‌خواهم שָׁלוֹם مَرحَبًا 한국어 각",
  "a".repeat(1000),
  "狗".repeat(300),
  "!?".repeat(200),
  "9".repeat(200),
  "constructor __proto__ toString",
];

function nastyText(stream: Random): string {
  const ranges: [number, number][] = [
    [0, 0x7f],
    [0x80, 0x24f],
    [0x300, 0x36f],
    [0x370, 0x1fff],
    [0x2000, 0x2bff],
    [0x3040, 0x9fff],
    [0xd800, 0xdfff],
    [0xfb00, 0xffff],
    [0x1f000, 0x1faff],
    [0x10000, 0x10ffff],
  ];
  let text = "";
  for (let length = stream.integer(30); length > 0; length--) {
    const [low, high] = ranges[stream.integer(ranges.length)]!;
    text += stream.integer(6) === 0 ? " " : String.fromCodePoint(low + stream.integer(high - low));
  }
  return text;
}

const lower = trainTokenizer(CAPTIONS, { vocabularySize: 400 });
const cased = trainTokenizer(CAPTIONS, { vocabularySize: 400, lowerCase: false });

for (const [name, tokenizer, lowerCase] of [
  ["lower case", lower, true],
  ["letter case kept", cased, false],
] as const) {
  test(`any text comes back up to normalisation, ${name}`, () => {
    const stream = random("nasty", name);
    const texts = [...CAPTIONS, ...NASTY, ...Array.from({ length: 500 }, () => nastyText(stream))];
    for (const text of texts) {
      const ids = tokenizer.encode(text);
      const expected = normalised(text, lowerCase);
      assert.equal(tokenizer.decode(ids), expected, JSON.stringify(text));
      for (const id of ids) {
        assert.ok(id > EOS_ID && id < tokenizer.vocabularySize, `${JSON.stringify(text)}: ${id}`);
      }
      assert.equal(ids.length === 0, expected === "");
    }
  });

  test(`Hugging Face's library reads the file the same way, ${name}`, () => {
    const file = JSON.parse(JSON.stringify(tokenizer));
    const library = new LibraryTokenizer(file, { clean_up_tokenization_spaces: false });
    const stream = random("library", name);
    const texts = [...CAPTIONS, ...NASTY, ...Array.from({ length: 500 }, () => nastyText(stream))];
    for (const text of texts) {
      // The library reads these words as special tokens wherever they stand.
      if (/\[(PAD|EOS)\]/.test(text)) continue;
      const ids = tokenizer.encode(text);
      assert.deepEqual(library.encode(text).ids, ids, JSON.stringify(text));
      if (ids.length > 0) assert.equal(library.decode(ids), tokenizer.decode(ids));
    }
    assert.equal(library.token_to_id("[PAD]"), PAD_ID);
    assert.equal(library.token_to_id("[EOS]"), EOS_ID);
    assert.equal(
      library.decode([PAD_ID, ...tokenizer.encode("a dog"), EOS_ID], { skip_special_tokens: true }),
      "a dog",
    );
  });
}

test("frequent words become one token, wherever they stand", () => {
  const captions = Array.from({ length: 50 }, (_, i) => `dog ${i} and dog's friend the Dog`);
  const tokenizer = trainTokenizer(captions, { vocabularySize: 300 });
  const [dog, ...rest] = tokenizer.encode("dog");
  assert.deepEqual(rest, []);
  assert.deepEqual(tokenizer.encode("DOG dog  dog\n"), [dog, dog, dog]);
  assert.equal(tokenizer.encode("friend").length, 1);
  assert.equal(tokenizer.encode("cat").length, 4);
});

test("letter case can be kept", () => {
  assert.deepEqual(lower.encode("A DOG"), lower.encode("a dog"));
  assert.notDeepEqual(cased.encode("A DOG"), cased.encode("a dog"));
});

test("training depends on the captions alone, not on their order", () => {
  const again = trainTokenizer([...CAPTIONS].reverse(), { vocabularySize: 400 });
  assert.deepEqual(again.toJSON(), lower.toJSON());
});

test("the vocabulary keeps its bound and may stay smaller", () => {
  assert.equal(trainTokenizer(CAPTIONS, { vocabularySize: 258 }).vocabularySize, 258);
  assert.equal(trainTokenizer(CAPTIONS, { vocabularySize: 270 }).vocabularySize, 270);
  const all = trainTokenizer(CAPTIONS);
  assert.ok(all.vocabularySize > 300 && all.vocabularySize < 8192);
  assert.equal(trainTokenizer([]).vocabularySize, 258);
  for (const vocabularySize of [257, 300.5, Number.NaN]) {
    assert.throws(() => trainTokenizer(CAPTIONS, { vocabularySize }), ClipsmithError);
  }
});

test("rows are padded and cut, with the end kept", () => {
  const dog = lower.encode("dog");
  const long = lower.encode(CAPTIONS[0]!);
  assert.ok(dog.length < 8 && long.length > 8);
  assert.deepEqual(
    [...lower.encodeBatch(["dog", CAPTIONS[0]!, ""], 8)],
    [...dog, ...Array(8 - dog.length).fill(PAD_ID), ...long.slice(0, 8), ...Array(8).fill(PAD_ID)],
  );
  assert.deepEqual(
    [...lower.encodeBatch(["dog", CAPTIONS[0]!, ""], 8, { addEos: true })],
    [
      ...[...dog, EOS_ID, ...Array(7 - dog.length).fill(PAD_ID)],
      ...[...long.slice(0, 7), EOS_ID],
      ...[EOS_ID, ...Array(7).fill(PAD_ID)],
    ],
  );
  assert.deepEqual(lower.encode("dog", { addEos: true }), [...dog, EOS_ID]);
  const row = lower.encodeBatch(["dog"], 8, { addEos: true });
  assert.equal(lower.decode(row), "dog");
  assert.throws(() => lower.encodeBatch(["dog"], 0), ClipsmithError);
});

test("a text cut inside a character decodes to a replacement character", () => {
  const bytes = trainTokenizer([]);
  assert.equal(bytes.decode(bytes.encode("狗").slice(0, 2)), "\ufffd");
  assert.throws(() => bytes.decode([258]), /no token 258.*0 to 257/);
  assert.throws(() => bytes.decode([-1]), ClipsmithError);
});

test("a saved tokenizer is loaded as it was", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "clipsmith-tokenizer-"));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "tokenizer.json");
  await cased.save(path);
  const loaded = await loadTokenizer(path);
  assert.ok(loaded instanceof TrainedTokenizer);
  assert.deepEqual(loaded.toJSON(), cased.toJSON());
  for (const text of [...CAPTIONS, ...NASTY]) {
    assert.deepEqual(loaded.encode(text), cased.encode(text));
  }

  // Hugging Face's own library writes merges as pairs.
  const file = JSON.parse(await readFile(path, "utf8"));
  file.model.merges = file.model.merges.map((merge: string) => merge.split(" "));
  assert.deepEqual(TrainedTokenizer.fromJSON(file).toJSON(), cased.toJSON());
});

test("what is no tokenizer is refused with the file's name", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "clipsmith-tokenizer-"));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "tokenizer.json");
  const refused = async (content: string, reason: RegExp) => {
    await writeFile(path, content);
    await assert.rejects(
      () => loadTokenizer(path),
      (error) =>
        error instanceof ClipsmithError &&
        error.message.includes(path) &&
        reason.test(error.message),
      content.slice(0, 100),
    );
  };
  await assert.rejects(() => loadTokenizer(join(folder, "none.json")), /none\.json.*ENOENT/);
  await assert.rejects(() => lower.save(join(folder, "none", "x.json")), /x\.json.*ENOENT/);
  await refused("{", /JSON/);
  await refused("null", /neither a tokenizer\.json/);
  await refused('{"model":{}}', /no tokenizer\.json/);
  await refused('{"model":{"type":"WordPiece"}}', /BPE/);

  const changed = (change: (file: ReturnType<typeof JSON.parse>) => void) => {
    const file = JSON.parse(JSON.stringify(lower));
    change(file);
    return JSON.stringify(file);
  };
  await refused(
    changed((file) => file.normalizer.normalizers.shift()),
    /"normalizer"/,
  );
  await refused(
    changed((file) => {
      file.pre_tokenizer = null;
    }),
    /"pre_tokenizer"/,
  );
  await refused(
    changed((file) => {
      file.model.vocab["[PAD]"] = 7;
    }),
    /"vocab"/,
  );
  await refused(
    changed((file) => file.model.merges.pop()),
    /"vocab"/,
  );
  await refused(
    changed((file) => file.model.merges.push("a b c")),
    /"vocab"/,
  );
});
