import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, test } from "node:test";
import { ClipsmithError } from "../util/errors.js";
import { readCollection } from "./collection.js";
import { NOT_UTF8 } from "./decode-text.js";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-collection-"));
});
after(() => rm(root, { recursive: true, force: true }));

/** Writes the files of a new folder; pictures are empty, since collections don't decode. */
async function folder(name: string, files: Record<string, string | Buffer>): Promise<string> {
  const path = join(root, name);
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(path, file)), { recursive: true });
    await writeFile(join(path, file), text);
  }
  return path;
}

function portable(base: string, path: string): string {
  return relative(base, path).replaceAll("\\", "/");
}

/** What a collection holds, with paths relative to its folder. */
async function read(source: string, base = source) {
  const { samples, skipped } = await readCollection(source);
  return {
    samples: samples.map(({ picture, captions }) => [portable(base, picture), captions]),
    skipped: skipped.map(({ where, reason }) => [portable(base, where), reason]),
  };
}

async function readList(name: string, text: string | Buffer, pictures = ["a.png", "b.png"]) {
  const files = Object.fromEntries(pictures.map((picture) => [picture, ""]));
  const path = await folder(`list-${name}`, { ...files, [name]: text });
  return read(join(path, name), path);
}

async function failure(source: string): Promise<string> {
  const error = await readCollection(source).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ClipsmithError, String(error));
  return error.message;
}

test("a folder: captions beside pictures, subfolders, odd names, sorted", async () => {
  const path = await folder("pairs", {
    "b.JPG": "",
    "b.txt": "\ufeffa dog\r\n\r\n  a brown dog \r\n",
    "a.webp": "",
    "a.TXT": "a cat",
    "sub/été 猫.png": "",
    "sub/été 猫.txt": "夏の猫\n",
    "sub/lonely.svg": "",
    "empty.gif": "",
    "empty.txt": " \n\u200b\n",
    "orphan.txt": "nothing to see",
    "._b.JPG": "",
    "notes.md": "",
  });
  assert.deepEqual(await read(path), {
    samples: [
      ["a.webp", ["a cat"]],
      ["b.JPG", ["a dog", "a brown dog"]],
      ["sub/été 猫.png", ["夏の猫"]],
    ],
    skipped: [
      ["empty.gif", "the .txt file of captions is empty"],
      ["orphan.txt", "no picture beside the .txt file"],
      ["sub/lonely.svg", "no .txt file of captions beside the picture"],
    ],
  });
});

test("captions are UTF-8, or UTF-16 that says so, and nothing else is learnt", async () => {
  const latin1 = (text: string) => Buffer.from(text, "latin1");
  const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, "utf16le");
  const path = await folder("encodings", {
    "a.png": "",
    "a.txt": utf16("une bête\r\n夏の猫\r\n"),
    "b.png": "",
    "b.txt": utf16("big 猫").swap16(),
    "c.png": "",
    "c.txt": latin1("un café"),
    "d.png": "",
    "d.txt": utf16("no mark").subarray(2),
  });
  assert.deepEqual(await read(path), {
    samples: [
      ["a.png", ["une bête", "夏の猫"]],
      ["b.png", ["big 猫"]],
    ],
    skipped: [
      ["c.png", NOT_UTF8],
      ["d.png", NOT_UTF8],
    ],
  });
  const rows = "path,caption\na.png,ascii\nb.png,été\n";
  for (const [name, text] of [
    ["latin1.csv", latin1(rows)],
    [
      "latin1.jsonl",
      latin1(
        '{"path": "skipped"}\n{"path": "a.png", "text": "ascii"}\n{"path": "b.png", "text": "é"}',
      ),
    ],
  ] as const) {
    const { samples, skipped } = await readList(name, text);
    assert.deepEqual(samples, [["a.png", ["ascii"]]], name);
    assert.deepEqual(skipped.at(-1), [`${name}:3`, NOT_UTF8], name);
  }
  for (const [name, text] of [
    ["utf16.csv", utf16(rows)],
    ["utf8.csv", Buffer.from(`\ufeff${rows}`)],
    [
      "utf16.jsonl",
      utf16('{"path": "a.png", "text": "ascii"}\r\n{"path": "b.png", "text": "été"}'),
    ],
  ] as const) {
    const { samples, skipped } = await readList(name, text);
    assert.deepEqual(
      samples,
      [
        ["a.png", ["ascii"]],
        ["b.png", ["été"]],
      ],
      name,
    );
    assert.deepEqual(skipped, [], name);
  }
});

test("a folder: one that is named like a picture is none", async () => {
  const files = { "a.png": "", "a.txt": "a", "dir.jpg/readme.md": "", "dir.txt": "a folder" };
  assert.deepEqual((await read(await folder("named-like-a-picture", files))).skipped, [
    ["dir.txt", "the picture is a folder: dir.jpg"],
  ]);
});

test("a folder: where there are no captions, the names of the subfolders are", async () => {
  const files = {
    "animals/cats/1.jpg": "",
    "animals/cats/2.png": "",
    "animals/wild_dogs/1.jpg": "",
    "animals/readme.md": "",
  };
  assert.deepEqual(await read(await folder("labels", files)), {
    samples: [
      ["animals/cats/1.jpg", ["cats"]],
      ["animals/cats/2.png", ["cats"]],
      ["animals/wild_dogs/1.jpg", ["wild dogs"]],
    ],
    skipped: [],
  });
  // With captions anywhere, their absence elsewhere is a mistake.
  const { samples, skipped } = await read(
    await folder("labels-captions", { ...files, "animals/cats/2.txt": "a cat" }),
  );
  assert.deepEqual([samples.length, skipped.length], [1, 2]);
  // One folder tells nothing apart, and the collection's own name was not meant as a caption.
  const one = { "cats/1.jpg": "", "cats/2.jpg": "" };
  assert.match(await failure(await folder("labels-one", one)), /a folder of its own, whose name/);
  await failure(await folder("labels-root", { "1.jpg": "", ...files }));
});

test("a folder: accented letters may be composed differently in the two names", async () => {
  const path = await folder("composed", {
    [`${"é".normalize("NFD")}.png`]: "",
    [`${"é".normalize("NFC")}.txt`]: "an e",
  });
  const { samples } = await readCollection(path);
  assert.deepEqual(
    samples.map(({ captions }) => captions),
    [["an e"]],
  );
});

test("a folder: links are followed, and links in a circle end", async (t) => {
  const path = await folder("linked/inside", { "a.png": "", "a.txt": "one" });
  await folder("elsewhere", { "b.png": "", "b.txt": "two" });
  try {
    await symlink(join(root, "linked"), join(path, "circle"), "dir");
    await symlink(join(root, "elsewhere"), join(path, "other"), "dir");
  } catch {
    t.skip("this system does not let us make links");
    return;
  }
  assert.deepEqual((await read(join(root, "linked"))).samples, [
    ["inside/a.png", ["one"]],
    ["inside/other/b.png", ["two"]],
  ]);
});

test("links that lead nowhere are named, where a picture or its captions would be", async (t) => {
  const path = await folder("broken", {
    "a.png": "",
    "a.txt": "one",
    "b.txt": "two",
    "c.png": "",
  });
  try {
    for (const name of ["b.png", "c.txt", "d.png", "folder", ".hidden.png"]) {
      await symlink(join(root, "nowhere"), join(path, name));
    }
  } catch {
    t.skip("this system does not let us make links");
    return;
  }
  const { samples, skipped } = await read(path);
  assert.deepEqual(samples, [["a.png", ["one"]]]);
  assert.deepEqual(
    skipped.map((line) => String(line).replace(/(ENOENT).*/, "$1")),
    [
      "c.png,the .txt file of captions cannot be read: ENOENT",
      "b.png,the link leads nowhere",
      "d.png,the link leads nowhere",
    ],
  );

  // Folders' names are captions all the same.
  const kinds = await folder("kinds-broken", { "cats/1.png": "", "dogs/2.png": "" });
  await symlink(join(root, "nowhere"), join(kinds, "dogs/3.png"));
  assert.deepEqual(await read(kinds), {
    samples: [
      ["cats/1.png", ["cats"]],
      ["dogs/2.png", ["dogs"]],
    ],
    skipped: [["dogs/3.png", "the link leads nowhere"]],
  });
});

test("a folder with a list is read by the list, at any depth", async () => {
  const path = await folder("imagefolder", {
    "train/metadata.jsonl":
      '{"file_name": "images/2.png", "text": "two"}\n{"file_name": "images/1.png", "text": "one"}\n',
    "train/images/1.png": "",
    "train/images/2.png": "",
    "train/images/2.txt": "not read",
    "test/metadata.csv": "file_name,text\n3.png,three\n",
    "test/3.png": "",
    "more/captions.tsv": "picture\tcaption\n4.png\tfour\n",
    "more/4.png": "",
  });
  assert.deepEqual(await read(path), {
    samples: [
      ["more/4.png", ["four"]],
      ["test/3.png", ["three"]],
      ["train/images/1.png", ["one"]],
      ["train/images/2.png", ["two"]],
    ],
    skipped: [],
  });
});

test("CSV: quotes, line breaks, mixed line ends, other columns, rows of one picture", async () => {
  const text =
    '\ufeffId, Image ,Caption\r\n1,b.png,"a ""big"", red\r\ncircle"\r\n\n2,a.png,first\n3,./a.png, second \n' +
    '4,b.png,it is 6" wide\n5,b.png,"so" it says\n';
  assert.deepEqual(await readList("quotes.csv", text), {
    samples: [
      ["a.png", ["first", "second"]],
      ["b.png", ['a "big", red\ncircle', 'it is 6" wide', '"so" it says']],
    ],
    skipped: [],
  });
});

test("CSV: bad rows are named by their line", async () => {
  const text =
    'path,text\na.png,"two\nlines"\nb.png\nb.png,x,y\nc.png,gone\n,no picture\nb.png,\n' +
    'https://example.org/a.png,far\nc.png,gone again\nb.png,"never closed\na.png,found\n';
  assert.deepEqual(await readList("bad.csv", text), {
    samples: [
      ["a.png", ["two\nlines", "found"]],
      ["b.png", ["x,y", '"never closed']],
    ],
    skipped: [
      ["bad.csv:4", "malformed row: it has 1 fields, the header 2"],
      ["bad.csv:7", "no path of a picture"],
      ["bad.csv:8", "no caption: b.png"],
      ["bad.csv:9", "the picture is a web address, download it first: https://example.org/a.png"],
      ["bad.csv:6", `the picture does not exist: ${join(root, "list-bad.csv", "c.png")}`],
      ["bad.csv:10", `the picture does not exist: ${join(root, "list-bad.csv", "c.png")}`],
    ],
  });
});

test("tabs and semicolons are found out", async () => {
  const samples = [["a.png", ["one, two"]]];
  for (const [name, text] of [
    ["tabs.tsv", "filepath\ttitle\r\na.png\tone, two\r\n"],
    ["tabs.csv", "filepath\ttitle\na.png\tone, two\n"],
    ["semicolons.csv", "filepath;title\na.png;one, two"],
  ] as const) {
    assert.deepEqual((await readList(name, text)).samples, samples, name);
  }
});

test("JSONL: arrays of captions, BOM, line separators inside strings, bad rows", async () => {
  const text = [
    '\ufeff{"file": "b.png", "captions": ["one", " ", 3, "two"]}\r',
    "",
    '{"file": "a.png", "caption": "split\u2028here"}',
    "{oops}",
    "[1]",
    '{"file": "a.png"}',
    '{"captions": "no file"}',
  ].join("\n");
  const { samples, skipped } = await readList("rows.jsonl", text);
  assert.deepEqual(samples, [
    ["a.png", ["split\u2028here"]],
    ["b.png", ["one", "two"]],
  ]);
  assert.match(skipped[0]![1]!, /^malformed row: not JSON/);
  assert.deepEqual(
    skipped.map(([where]) => where),
    ["rows.jsonl:4", "rows.jsonl:5", "rows.jsonl:6", "rows.jsonl:7"],
  );
});

test("a long JSONL list survives the borders between chunks", async () => {
  const captions = Array.from({ length: 5000 }, (_, i) => `猫 number ${i}`);
  const text = captions.map((text) => JSON.stringify({ path: "a.png", text })).join("\n");
  assert.deepEqual(await readList("long.jsonl", text), {
    samples: [["a.png", captions]],
    skipped: [],
  });
});

test("a list's names and a folder's may be composed differently", async () => {
  const text = `path,text\n${"é".normalize("NFC")}.png,an e\n`;
  const { samples } = await readList("nfc.csv", text, [`${"é".normalize("NFD")}.png`]);
  assert.equal(samples.length, 1);
});

test("what cannot be read at all says how to mend it", async () => {
  assert.match(await failure(join(root, "nowhere")), /nowhere does not exist\. Give the path/);

  const picture = await folder("kinds", { "a.png": "", "list.csv": "number,words\n1,x\n" });
  assert.match(
    await failure(join(picture, "a.png")),
    /a\.png is no collection .*\.csv, \.tsv, \.jsonl/,
  );

  assert.match(
    await failure(join(picture, "list.csv")),
    /no column of pictures: its columns are "number", "words"\. Say which one it is by --picture-column, or name it path, .*; the first row/,
  );
  await writeFile(join(picture, "rows.jsonl"), '{"path": "a.png", "label": "x"}\n');
  assert.match(
    await failure(join(picture, "rows.jsonl")),
    /no column of captions: its columns are "path", "label"\. Say which one it is by --caption-column, or name it caption, /,
  );
});

test("a collection with nothing usable counts the reasons", async () => {
  const path = await folder("useless", {
    "1.png": "",
    "2.png": "",
    "3.png": "",
    "4.png": "",
    "5.png": "",
    "5.txt": "",
  });
  const message = await failure(path);
  assert.match(message, /useless holds no picture with a caption/);
  assert.match(message, /4 times: no \.txt file .* \(1\.png, 2\.png, 3\.png, \.\.\.\)/);
  assert.match(message, /1 times: the \.txt file of captions is empty \(5\.png\)/);
  assert.match(await failure(await folder("bare", { "x/readme.md": "" })), /Put a \.txt file/);
});

test("captions are optional where asked", async () => {
  const path = await folder("optional", {
    "a.png": "",
    "b.png": "",
    "b.txt": "b\n",
    "c.png": "",
    "c.txt": "\n",
    "d.txt": "d\n",
  });
  const { samples, skipped } = await readCollection(path, { captions: "optional" });
  assert.deepEqual(
    samples.map(({ picture, captions }) => [portable(path, picture), captions]),
    [
      ["a.png", []],
      ["b.png", ["b"]],
      ["c.png", []],
    ],
  );
  assert.deepEqual(
    skipped.map(({ where }) => portable(path, where)),
    ["d.txt"],
  );
  const empty = await folder("optional-empty", { "d.txt": "d\n" });
  await assert.rejects(
    readCollection(empty, { captions: "optional" }),
    /optional-empty holds no picture\.\n {2}1 times: no picture beside the \.txt file \(d\.txt\)$/,
  );
});
