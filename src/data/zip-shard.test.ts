import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openSource } from "./open-source.js";
import type { SourceOptions } from "./source.js";
import { entriesOf, memoryFile, tableOf, zipOf } from "./testing.js";
import { zipNotes, zipShard } from "./zip-shard.js";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-zip-"));
});
after(() => rm(root, { recursive: true, force: true }));

const shardOf = (bytes: Uint8Array, options: SourceOptions = {}) =>
  zipShard("z.zip", () => memoryFile(bytes), options);
const read = async (bytes: Uint8Array, options: SourceOptions = {}) =>
  tableOf(await entriesOf(shardOf(bytes, options)));
const notesOf = (bytes: Uint8Array) => zipNotes(memoryFile(bytes));

const PAIRS = [
  ["b.jpg", "picture b"],
  ["a.png", "picture a"],
  ["a.txt", "one\ntwo\n"],
  ["sub/c.JPG", "picture c"],
  ["b.txt", "a cat"],
  ["sub/c.json", '{"caption": "by json", "score": NaN}'],
] as const;
const ENTRIES = [
  ["z.zip/b", "picture b", ["a cat"]],
  ["z.zip/a", "picture a", ["one", "two"]],
  ["z.zip/sub/c", "picture c", ["by json"]],
];

test("pictures with captions beside them, in any order, however the archive is written", async () => {
  for (const settings of [{}, { method: 0 }, { large: true }, { flags: 0 }]) {
    assert.deepEqual(await read(zipOf(PAIRS, settings)), ENTRIES, JSON.stringify(settings));
  }
  const folders = [["sub/", ""], ...PAIRS, ["README.md", "no sample"]] as const;
  assert.deepEqual(await read(zipOf(folders)), ENTRIES);
});

test("reading from the n-th entry gives the tail of reading all", async () => {
  const bytes = zipOf([...PAIRS, ["d.jpg", "no caption"], ["__MACOSX/._d.jpg", "litter"]]);
  const all = await entriesOf(shardOf(bytes));
  assert.equal(all.length, 5);
  for (let start = 0; start <= all.length + 1; start++) {
    assert.deepEqual(await entriesOf(shardOf(bytes), start), all.slice(start), `from ${start}`);
  }
});

test("names: UTF-8 said or not, DOS, backslashes, paths that lead out", async () => {
  const unsaid = zipOf(
    [
      ["été/1.jpg", "x"],
      ["été/1.txt", "y"],
    ],
    { flags: 0 },
  );
  assert.deepEqual(await read(unsaid), [["z.zip/été/1", "x", ["y"]]]);
  const dos = Buffer.from([0x82, 0x2e, 0x6a, 0x70, 0x67]);
  assert.deepEqual(await read(zipOf([[dos, "x"]], { flags: 0 }), { captions: "optional" }), [
    ["z.zip/é", "x", []],
  ]);
  const windows = zipOf([
    ["set\\1.jpg", "x"],
    ["set\\1.txt", "y"],
  ]);
  assert.deepEqual(await read(windows), [["z.zip/set/1", "x", ["y"]]]);
  const out = zipOf([
    ["../../1.jpg", "x"],
    ["../../1.txt", "y"],
    ["/2.jpg", "x"],
    ["/2.txt", "z"],
  ]);
  assert.deepEqual(
    (await entriesOf(shardOf(out))).map((entry) => "captions" in entry && entry.captions),
    [["y"], ["z"]],
  );
});

test("folders' names are captions where nothing lies beside the pictures, and it is told", async () => {
  const animals = zipOf([
    ["set/cats/1.jpg", "c"],
    ["set/wild_dogs/1.jpg", "d"],
    ["set/wild_dogs/2.heic", "h"],
    ["__MACOSX/set/cats/._1.jpg", "m"],
    ["set/.DS_Store", "m"],
  ]);
  assert.deepEqual(await read(animals), [
    ["z.zip/set/cats/1", "c", ["cats"]],
    ["z.zip/set/wild_dogs/1", "d", ["wild dogs"]],
    ["z.zip/set/wild_dogs/2", ".heic files cannot be read: convert it to JPEG or PNG"],
    ["z.zip", "left out by rule: 1 picture of system folders: __MACOSX"],
  ]);
  assert.match((await notesOf(animals)).join(), /are their captions\. cats\/1\.jpg is "cats"\.$/);
  assert.deepEqual((await read(animals, { captions: "optional" }))[0], [
    "z.zip/set/cats/1",
    "c",
    [],
  ]);

  const withReadMe = zipOf([
    ["cats/1.jpg", "c"],
    ["dogs/2.jpg", "d"],
    ["README.txt", "two kinds"],
    ["info.json", "{}"],
  ]);
  assert.match((await notesOf(withReadMe)).join(), /are their captions/);

  const beside = zipOf([
    ["cats/1.jpg", "c"],
    ["dogs/2.jpg", "d"],
    ["dogs/2.xml", "<x/>"],
  ]);
  assert.deepEqual(await read(beside), [
    ["z.zip/cats/1", "no caption"],
    ["z.zip/dogs/2", "no caption"],
  ]);
  const years = zipOf([
    ["2019/1.jpg", "c"],
    ["2020/2.jpg", "d"],
  ]);
  assert.equal((await read(years)).length, 2);
  assert.match((await notesOf(years)).join(), /not taken for captions: some hold no word/);
});

test("what an archive cannot give is told", async () => {
  const cut = zipOf(PAIRS);
  for (const [bytes, reason, options] of [
    [Buffer.alloc(0), /^the shard is empty$/],
    [zipOf([]), /^the shard is empty$/],
    [cut.subarray(0, 200), /^the shard is truncated: /],
    [Buffer.alloc(1000, 1), /^the shard is damaged: /],
    [Buffer.from("version https://git-lfs.github.com/spec/v1\n"), /it is a Git LFS pointer/],
    [Buffer.from("<!DOCTYPE html><html></html>"), /it is a web page/],
    [zipOf(PAIRS, { flags: 0x801 }), /^the shard is encrypted: unpack the archive and name the/],
    [zipOf(PAIRS, { flags: 0x841 }), /^the shard is encrypted: unpack the archive and name the/],
    [
      zipOf([
        ["notes.md", ""],
        ["0.tar", ""],
      ]),
      /^the shard holds no pictures: only \.md, \.tar/,
    ],
    [
      zipOf([
        ["Images/1.jpg", "x"],
        ["captions.csv", "image,caption\n1.jpg,a\n"],
      ]),
      /^a list in the archive says what its pictures show: captions\.csv; unpack the archive/,
    ],
    [
      zipOf(
        [
          ["1.jpg", "x"],
          ["1.txt", "y"],
        ],
        { method: 9 },
      ),
      /^its compression is not understood: me/,
    ],
    [
      zipOf(
        [
          ["1.jpg", "x"],
          ["1.txt", "y"],
        ],
        { size: 500 },
      ),
      /^it is damaged: it is shorter/,
    ],
    [
      zipOf(
        [
          ["1.jpg", "xxxx"],
          ["1.txt", "y"],
        ],
        { size: 2 },
      ),
      /^it is damaged: /,
    ],
    [
      zipOf([
        ["1.jpg", "x".repeat(2 ** 21)],
        ["1.txt", "y"],
      ]),
      /^the picture is too large: 2\.0 MB, the limit is 1\.0 MB$/,
      { maxEntryBytes: 2 ** 20 },
    ],
  ] as const) {
    const entries = await entriesOf(shardOf(bytes, options ?? {}));
    assert.equal(entries.length, 1, String(reason));
    const [entry] = entries;
    assert.match(entry && "reason" in entry ? entry.reason : "", reason);
  }
});

test("a damaged archive ends, wherever it is damaged", async () => {
  const bytes = zipOf(PAIRS);
  for (let at = 0; at < bytes.length; at += 7) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 0xff;
    assert.ok((await entriesOf(shardOf(damaged))).length > 0);
  }
});

test("archives by path, in a folder, and on a server that knows ranges", async () => {
  const zip = zipOf(PAIRS);
  const folder = join(root, "zips");
  await mkdir(folder);
  await writeFile(join(folder, "1.zip"), zip);
  await writeFile(
    join(folder, "2.ZIP"),
    zipOf([
      ["cats/1.jpg", "c"],
      ["dogs/1.jpg", "d"],
    ]),
  );
  const names = async (spec: string) => {
    const { shards, notes } = await openSource(spec, { tries: 1 });
    const entries = (await Promise.all(shards.map((shard) => entriesOf(shard)))).flat();
    return [
      entries.map((entry) => ("captions" in entry ? entry.captions[0] : entry.reason)),
      notes,
    ];
  };
  const captions = ["a cat", "one", "by json"];
  assert.deepEqual(await names(join(folder, "1.zip")), [captions, []]);
  const [all, notes] = await names(folder);
  assert.deepEqual(all, [...captions, "cats", "dogs"]);
  assert.match(String(notes), /captions\. cats\/1\.jpg is "cats"/);

  const server = createServer(({ headers }, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
    const [start, end] = [Number(first ?? 0), last ? Number(last) + 1 : zip.length];
    response.writeHead(first === undefined ? 200 : 206, {
      "content-length": end - start,
      ...(first && { "content-range": `bytes ${start}-${end - 1}/${zip.length}` }),
    });
    response.end(zip.subarray(start, end));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  try {
    const { port } = server.address() as AddressInfo;
    assert.deepEqual((await names(`http://127.0.0.1:${port}/1.zip`))[0], captions);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
