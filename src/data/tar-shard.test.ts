import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import type { ByteFile } from "./byte-file.js";
import { NOT_UTF8 } from "./decode-text.js";
import { tarShard } from "./tar-shard.js";
import { entriesOf, memoryFile, tableOf, tarOf } from "./testing.js";

const shardOf = (bytes: Uint8Array, options = {}) =>
  tarShard("s.tar", () => memoryFile(bytes), options);
const read = async (bytes: Uint8Array, options = {}) =>
  tableOf(await entriesOf(shardOf(bytes, options)));

const PAIRS = [
  ["000.jpg", "picture 0"],
  ["000.txt", "a cat"],
  ["001.webp", "picture 1"],
  ["001.txt", "a dog\na brown dog\n"],
  ["002.png", "picture 2"],
  ["002.txt", "a cow"],
] as const;
const ENTRIES = [
  ["s.tar/000", "picture 0", ["a cat"]],
  ["s.tar/001", "picture 1", ["a dog", "a brown dog"]],
  ["s.tar/002", "picture 2", ["a cow"]],
];

test("neighbouring files of one key are a sample, captions from where they are", async () => {
  const tar = await tarOf([
    ["./a/b/1.JPG", "one"],
    ["./a/b/1.json", '{"caption": "by json", "url": "https://example.org"}'],
    ["./a/b/1.txt", "\ufeffby text"],
    ["c/2.cls", "7"],
    ["c/2.seg.png", "no picture of its own"],
    ["c/2.png", "two"],
    ["c/2.json", '{"Captions": ["first", "", "second"]}'],
    ["3.webp", "three"],
    ["3.caption", "été"],
    ["4.gif", "four"],
    ["4.cls", "tabby cat"],
    ["5.npy", "5"],
    ["5.avif", "five"],
    ["5.txt", "夏の猫"],
    [`${"long/".repeat(60)}6.jpg`, "six"],
    [`${"long/".repeat(60)}6.txt`, "deep"],
    ["._7.jpg", "hidden"],
    ["README", "no extension"],
  ]);
  assert.deepEqual(await read(tar), [
    ["s.tar/a/b/1", "one", ["by text"]],
    ["s.tar/c/2", "two", ["first", "second"]],
    ["s.tar/3", "three", ["été"]],
    ["s.tar/4", "four", ["tabby cat"]],
    ["s.tar/5", "five", ["夏の猫"]],
    [`s.tar/${"long/".repeat(60)}6`, "six", ["deep"]],
    ["s.tar", "left out by rule: 1 picture of hidden names: ._7.jpg"],
  ]);
});

test("what is wrong with a sample is said in words that can be counted", async () => {
  const tar = await tarOf([
    ["1.jpg", "one"],
    ["2.txt", "no picture"],
    ["3.jpg", ""],
    ["3.txt", "empty"],
    ["4.jpg", "four"],
    ["4.txt", " \n\u200b"],
    ["5.jpg", "five"],
    ["5.json", "{caption"],
    ["6.jpg", "six"],
    ["6.json", '{"caption": null}'],
    ["7.jpg", "seven"],
    ["7.json", "none, but not needed"],
    ["7.txt", "seven"],
    ["1.jpg", "one"],
    ["1.txt", "too late"],
    ["8.jpg", "eight"],
    ["8.txt", "eight"],
    ["8.jpg", "eight"],
    ["8.txt", "eight again"],
    ["9.jpg", "nine"],
    ["9.cls", "9"],
  ]);
  assert.deepEqual(
    (await read(tar)).map((line) =>
      (line as string[]).map((cell) => (typeof cell === "string" ? cell.split(": ")[0] : cell)),
    ),
    [
      ["s.tar/1", "no caption"],
      ["s.tar/2", "no picture"],
      ["s.tar/3", "the picture is empty"],
      ["s.tar/4", "no caption"],
      ["s.tar/5", "the .json is not JSON"],
      ["s.tar/6", "no caption"],
      ["s.tar/7", "seven", ["seven"]],
      ["s.tar/1", "duplicate key"],
      ["s.tar/8", "eight", ["eight"]],
      ["s.tar/8", "duplicate key"],
      ["s.tar/9", "no caption"],
    ],
  );
});

test("dots in names: fields of a sample, or names of samples", async () => {
  const named = (...names: readonly string[]) =>
    tarOf(names.map((name): [string, string] => [name, `"${name.split("/").at(-1)}"`]));
  const samples = (...names: readonly string[]) =>
    names.map((name) => {
      const [key, picture, caption] = name.split(" ");
      return [`s.tar/${key}`, `"${picture}"`, caption ? [`"${caption}"`] : []];
    });
  const dots = "several dots in the names";
  for (const [names, expected, options] of [
    // WebDataset's fields.
    [["7.input.jpg", "7.outputs.txt"], samples("7 7.input.jpg 7.outputs.txt")],
    [["7.jpg", "7.caption.txt"], samples("7 7.jpg 7.caption.txt")],
    [["7.txt", "7.image.png"], samples("7 7.image.png 7.txt")],
    [["7.image0.jpg", "7.text0.txt"], samples("7 7.image0.jpg 7.text0.txt")],
    [["7.jpg", "7.mask.png", "7.txt"], samples("7 7.jpg 7.txt")],
    [["7.mask.png", "7.jpg", "7.depth.tiff", "7.txt"], samples("7 7.jpg 7.txt")],
    [["7.in.jpg", "7.out.jpg", "7.prompt.txt"], [["s.tar/7", dots]]],
    [["7.in.jpg", "7.good.txt", "7.bad.txt"], [["s.tar/7", dots]]],
    // Names with dots.
    [
      ["d.v1/1.0.png", "d.v1/1.0.txt", "d.v1/1.1.png", "d.v1/1.1.txt"],
      samples("d.v1/1.0 1.0.png 1.0.txt", "d.v1/1.1 1.1.png 1.1.txt"),
    ],
    [
      ["img.v1.01.jpg", "img.v1.01.txt", "img.v1.02.caption", "img.v1.02.jpg"],
      samples("img.v1.01 img.v1.01.jpg img.v1.01.txt", "img.v1.02 img.v1.02.jpg img.v1.02.caption"),
    ],
    [["a.jpg", "a.txt", "a.1.jpg", "a.1.txt"], samples("a a.jpg a.txt", "a.1 a.1.jpg a.1.txt")],
    [
      ["A B. Smith.JPG", "A B. Smith.txt"],
      [["s.tar/A B. Smith", '"A B. Smith.JPG"', ['"A B. Smith.txt"']]],
    ],
    // Two halves of two samples are none.
    [["v.01.jpg", "v.02.txt"], [["s.tar/v", dots]]],
    [
      ["v.01.jpg", "v.02.jpg"],
      [
        ["s.tar/v.01", "no caption"],
        ["s.tar/v.02", "no caption"],
      ],
    ],
    [["v.01.jpg", "v.02.jpg"], samples("v.01 v.01.jpg", "v.02 v.02.jpg"), { captions: "optional" }],
    [
      Array.from({ length: 30 }, (_, i) => `v.${10 + i}.jpg`),
      samples(...Array.from({ length: 30 }, (_, i) => `v.${10 + i} v.${10 + i}.jpg`)),
      { captions: "optional" },
    ],
  ] as const) {
    const entries = await read(await named(...names), options ?? {});
    const short = entries.map((entry) => {
      const [where, reason] = entry as string[];
      return reason!.startsWith(dots) ? [where, dots] : entry;
    });
    assert.deepEqual(short, expected, names.join(" "));
  }
  assert.match(
    String(await read(await named("7.in.jpg", "7.out.jpg", "7.prompt.txt"))),
    /several dots in the names: \.in\.jpg, \.out\.jpg, \.prompt\.txt; leave one dot/,
  );
});

test("kinds that cannot be read, and what systems leave behind", async () => {
  const tar = await tarOf([
    ["photos/1.jpg", "one"],
    ["photos/1.txt", "one"],
    ["photos/2.heic", "two"],
    ["photos/2.txt", "two"],
    ["photos/3.mov", "three"],
    ["photos/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "thumbnail"],
    ["__MACOSX/photos/._1.jpg", "metadata"],
    ["photos/._1.jpg", "metadata"],
    ["photos/Thumbs.db", "thumbnails"],
  ]);
  assert.deepEqual(await read(tar), [
    ["s.tar/photos/1", "one", ["one"]],
    ["s.tar/photos/2", ".heic files cannot be read: convert it to JPEG or PNG"],
    ["s.tar/photos/3", ".mov files cannot be read: it is a video"],
    [
      "s.tar",
      "left out by rule: 2 pictures of system folders: @eaDir, __MACOSX; 1 picture of hidden names: ._1.jpg",
    ],
  ]);
});

test("links lose no picture without the reason", async () => {
  const linked = async (...members: readonly [string, string, "file" | "link" | "symlink"][]) => {
    const tar = pack();
    for (const [name, content, type] of members) {
      if (type === "file") tar.entry({ name }, content);
      else tar.entry({ name, type, linkname: content });
    }
    tar.finalize();
    const chunks: Uint8Array[] = [];
    for await (const chunk of tar as AsyncIterable<Uint8Array>) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const link = "a link in the archive: make it by tar -h --hard-dereference";
  const tar = await linked(
    ["1.jpg", "one", "file"],
    ["1.txt", "one", "file"],
    ["2.jpg", "1.jpg", "link"],
    ["2.txt", "two", "file"],
    ["3.jpg", "/photos/3.jpg", "symlink"],
    ["3.txt", "/photos/3.txt", "symlink"],
    ["4.jpg", "four", "file"],
    ["4.txt", "1.txt", "link"],
    ["5.jpg", "five", "file"],
    ["5.mask.png", "1.jpg", "link"],
    ["5.txt", "five", "file"],
  );
  assert.deepEqual(await read(tar), [
    ["s.tar/1", "one", ["one"]],
    ["s.tar/2", link],
    ["s.tar/3", link],
    ["s.tar/4", link],
    ["s.tar/5", "five", ["five"]],
  ]);
  assert.deepEqual(await read(await linked(["photos", "/photos", "symlink"])), [
    ["s.tar", "the shard holds only links: make it by tar -h --hard-dereference"],
  ]);
});

test("captions are UTF-8, or UTF-16 that says so, and nothing else is learnt", async () => {
  const latin1 = Buffer.from("un café", "latin1");
  const utf16 = Buffer.from('\ufeff{"caption": "夏の猫"}', "utf16le");
  const tar = await tarOf([
    ["1.jpg", "one"],
    ["1.txt", latin1],
    ["2.jpg", "two"],
    ["2.json", utf16],
    ["3.jpg", "three"],
    ["3.txt", latin1],
    ["3.json", '{"caption": "three"}'],
    ["4.jpg", "four"],
    ["4.json", Buffer.concat([Buffer.from('{"caption": "'), latin1, Buffer.from('"}')])],
  ]);
  assert.deepEqual(await read(tar), [
    ["s.tar/1", NOT_UTF8],
    ["s.tar/2", "two", ["夏の猫"]],
    ["s.tar/3", "three", ["three"]],
    ["s.tar/4", NOT_UTF8],
  ]);
});

test("pictures above the limit are passed over unread", async () => {
  const tar = await tarOf([
    ["1.jpg", "x".repeat(3 * 2 ** 20)],
    ["1.txt", "large"],
    ["2.jpg", "two"],
    ["2.txt", "small"],
  ]);
  assert.deepEqual(await read(tar, { maxEntryBytes: 2 ** 20 }), [
    ["s.tar/1", "the picture is too large: 3.0 MB, the limit is 1.0 MB"],
    ["s.tar/2", "two", ["small"]],
  ]);
});

test("reading from the n-th entry gives the tail of reading all", async () => {
  const whole = await tarOf([...PAIRS, ["003.jpg", "no caption"], ["004.txt", "no picture"]]);
  for (const bytes of [whole, whole.subarray(0, 5000), whole.subarray(0, 600)]) {
    const all = await entriesOf(shardOf(bytes));
    for (let start = 0; start <= all.length + 1; start++) {
      assert.deepEqual(await entriesOf(shardOf(bytes), start), all.slice(start), `from ${start}`);
    }
  }
});

test("a gzipped tar is read, whatever its name", async () => {
  const gzipped = gzipSync(await tarOf(PAIRS));
  assert.deepEqual(await read(gzipped), ENTRIES);
  const cut = await read(gzipped.subarray(0, gzipped.length - 30));
  assert.match(String((cut.at(-1) as string[])[1]), /^the shard is truncated: /);
});

test("of a truncated shard, what is whole before is used", async () => {
  const tar = await tarOf(PAIRS);
  // Each file takes a header of 512 bytes and 512 of content.
  const cut = await read(tar.subarray(0, 4 * 1024 + 700));
  assert.deepEqual(cut, [
    ...ENTRIES.slice(0, 2),
    ["s.tar", "the shard is truncated: Unexpected end of data"],
  ]);
  // Cut behind a whole sample: that one counts, too.
  const later = await read(tar.subarray(0, 6 * 1024 + 100));
  assert.deepEqual(later.slice(0, 3), ENTRIES);
  assert.match(String((later[3] as string[])[1]), /^the shard is truncated: /);
});

test("garbage ends a shard with a reason", async () => {
  const tar = await tarOf(PAIRS);
  const garbage = Buffer.from(tar);
  garbage.fill(0x5a, 4 * 1024, 4 * 1024 + 512);
  const entries = await read(garbage);
  assert.deepEqual(entries.slice(0, 2), ENTRIES.slice(0, 2));
  assert.deepEqual(entries.length, 3);
  assert.match(String((entries[2] as string[])[1]), /^the shard is damaged: Invalid tar header/);
  const text = await read(Buffer.from("<html>Not found</html>".repeat(100)));
  assert.match(String((text[0] as string[])[1]), /^the shard is damaged: /);
});

test("an empty shard says so", async () => {
  assert.deepEqual(await read(Buffer.alloc(0)), [["s.tar", "the shard is empty"]]);
  assert.deepEqual(await read(await tarOf([])), [["s.tar", "the shard is empty"]]);
  assert.deepEqual(await read(await tarOf([["a/", ""]])), [["s.tar", "the shard is empty"]]);
});

/** A tar of `count` samples of a quarter of a megabyte each, made as it is read. */
function largeFile(count: number, pulled: { bytes: number; closed: boolean }): ByteFile {
  return {
    async *read() {
      try {
        for (let i = 0; i < count; i++) {
          const sample = await tarOf([
            [`${i}.jpg`, `${i % 10}`.repeat(2 ** 18)],
            [`${i}.txt`, `caption ${i}`],
          ]);
          // A tar ends with two empty blocks.
          const bytes = sample.subarray(0, -1024);
          pulled.bytes += bytes.length;
          yield bytes;
        }
      } finally {
        pulled.closed = true;
      }
    },
    size: async () => {
      throw new Error("not asked for");
    },
  };
}

test("a shard is read no faster than its samples are taken, and memory stays small", async () => {
  const pulled = { bytes: 0, closed: false };
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  let count = 0;
  for await (const entry of tarShard("large.tar", () => largeFile(256, pulled)).read()) {
    assert.ok("picture" in entry && entry.picture.length === 2 ** 18);
    count++;
    // The source gets time to run ahead.
    if (count % 64 === 1) await new Promise((done) => setTimeout(done, 20));
    const ahead = pulled.bytes - count * 2 ** 18;
    assert.ok(ahead < 2 ** 21, `${ahead} bytes ahead after ${count} samples`);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  assert.equal(count, 256);
  assert.ok(pulled.bytes > 64 * 2 ** 20);
  assert.ok(most < 48 * 2 ** 20, `${most} bytes of buffers`);
});

test("a shard that is left early is closed", async () => {
  const pulled = { bytes: 0, closed: false };
  for await (const _ of tarShard("large.tar", () => largeFile(256, pulled)).read()) break;
  while (!pulled.closed) await new Promise((done) => setTimeout(done, 1));
  assert.ok(pulled.bytes < 2 ** 21);
});
