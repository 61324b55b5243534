import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { parquetWriteBuffer } from "hyparquet-writer";
import { ClipsmithError } from "../util/errors.js";
import { openSource } from "./open-source.js";
import { S3 } from "./s3-file.js";
import type { SampleSource } from "./source.js";
import { entriesOf, tarOf } from "./testing.js";

const PATIENCE = { tries: 5, waitMs: 1, silenceMs: 5000 };

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-source-"));
});
after(() => rm(root, { recursive: true, force: true }));

async function folder(name: string, files: Record<string, string | Uint8Array>): Promise<string> {
  const path = join(root, name);
  for (const [file, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, file)), { recursive: true });
    await writeFile(join(path, file), content);
  }
  return path;
}

const tar = (name: string) =>
  tarOf([
    [`${name}.jpg`, `picture ${name}`],
    [`${name}.txt`, `caption ${name}`],
  ]);

function parquet(...names: string[]): Uint8Array {
  const jpg = names.map((name) => new TextEncoder().encode(`picture ${name}`));
  const caption = names.map((name) => `caption ${name}`);
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: "jpg", data: jpg, type: "BYTE_ARRAY" },
        { name: "caption", data: caption, type: "STRING" },
      ],
    }),
  );
}

/** Captions or reasons by shard. */
async function contents({ shards }: SampleSource): Promise<[string, string[]][]> {
  return Promise.all(
    shards.map(async (shard): Promise<[string, string[]]> => {
      const entries = await entriesOf(shard);
      const texts = entries.map((entry) =>
        "reason" in entry ? entry.reason.split(": ")[0]! : entry.captions.join("|"),
      );
      return [basename(shard.name), texts];
    }),
  );
}

async function failure(spec: string, options = PATIENCE): Promise<string> {
  const error = await openSource(spec, options).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ClipsmithError, String(error));
  return error.message;
}

test("folders and lists are one shard, the same as readCollection's", async () => {
  const path = await folder("pairs", {
    "a.png": "",
    "a.txt": "a",
    "b.png": "",
    "c/d.png": "",
    "c/d.txt": "d",
    "list.csv": "path,caption\na.png,from a list\n",
    "more/1.parquet": "not looked at",
  });
  const source = await openSource(path);
  assert.deepEqual(await contents(source), [
    ["pairs", ["a", "d", "no .txt file of captions beside the picture"]],
  ]);
  const all = await entriesOf(source.shards[0]!);
  assert.deepEqual(all[0], {
    name: join(path, "a.png"),
    picture: join(path, "a.png"),
    captions: ["a"],
  });
  assert.deepEqual(await entriesOf(source.shards[0]!, 1), all.slice(1));
  assert.deepEqual(await contents(await openSource(join(path, "list.csv"))), [
    ["list.csv", ["from a list"]],
  ]);
});

test("a folder with tar files is read by them, in order, side files passed over", async () => {
  const path = await folder("webdataset", {
    "00001.tar": await tar("b"),
    "00000.tar": await tar("a"),
    "00002.tar.gz": await tar("c"),
    "00000.parquet": "side file",
    "00000_stats.json": "{}",
    ".00003.tar": "hidden",
  });
  assert.deepEqual(await contents(await openSource(path)), [
    ["00000.tar", ["caption a"]],
    ["00001.tar", ["caption b"]],
    ["00002.tar.gz", ["caption c"]],
  ]);
  assert.deepEqual(await contents(await openSource(join(path, "00001.tar"))), [
    ["00001.tar", ["caption b"]],
  ]);
});

test("img2dataset's parquet and files formats", async () => {
  const tables = await folder("tables", {
    "00000.parquet": parquet("a", "b"),
    "00001.parquet": parquet("c"),
    "00000_stats.json": "{}",
  });
  assert.deepEqual(await contents(await openSource(tables)), [
    ["00000.parquet", ["caption a", "caption b"]],
    ["00001.parquet", ["caption c"]],
  ]);
  const files = await folder("files", {
    "00000.parquet": "side file",
    "00000_stats.json": "{}",
    "00000/000000000.jpg": "",
    "00000/000000000.txt": "a",
    "00000/000000000.json": "{}",
  });
  assert.deepEqual(await contents(await openSource(files)), [["files", ["a"]]]);
});

test("where captions are optional, pictures of every kind count without", async () => {
  const jpg = [new TextEncoder().encode("picture")];
  const bytes = parquetWriteBuffer({
    columnData: [{ name: "jpg", data: jpg, type: "BYTE_ARRAY" }],
  });
  const path = await folder("captionless", {
    "pictures/a.png": "",
    "b.csv": "path\npictures/a.png\n",
    "c.jsonl": '{"path": "pictures/a.png"}\n',
    "d.tar": await tarOf([["1.jpg", "picture"]]),
    "e.parquet": new Uint8Array(bytes),
  });
  for (const name of ["pictures", "b.csv", "c.jsonl", "d.tar", "e.parquet"]) {
    const source = await openSource(join(path, name), { captions: "optional" });
    assert.deepEqual(await contents(source), [[name, [""]]]);
    const required = async () => contents(await openSource(join(path, name)));
    if (name === "d.tar") assert.deepEqual(await required(), [[name, ["no caption"]]]);
    else await assert.rejects(required(), ClipsmithError);
  }
});

test("a tar's folders are captions where nothing lies beside its pictures, and it is told", async () => {
  const classes = await tarOf([
    ["set/cats/1.jpg", "c"],
    ["set/cats/2.jpg", "c"],
    ["set/@eaDir/1.jpg", "t"],
    ["set/wild_dogs/1.jpg", "d"],
    ["set/classes.txt", "cats\nwild dogs\n"],
  ]);
  const beside = await tarOf([
    ["cats/1.jpg", "c"],
    ["dogs/1.jpg", "d"],
    ["dogs/1.xml", "<x/>"],
  ]);
  const path = await folder("tar-labels", { "classes.tar": classes, "beside.tar": beside });
  const source = await openSource(join(path, "classes.tar"));
  assert.deepEqual(await contents(source), [
    ["classes.tar", ["cats", "cats", "wild dogs", "no picture", "left out by rule"]],
  ]);
  assert.match(source.notes!.join(), /are their captions\. cats\/1\.jpg is "cats"\.$/);
  const other = await openSource(join(path, "beside.tar"));
  assert.deepEqual(await contents(other), [["beside.tar", ["no caption", "no caption"]]]);
  assert.deepEqual(other.notes, []);
  const bare = await openSource(join(path, "classes.tar"), { captions: "optional" });
  assert.deepEqual((await contents(bare))[0]![1].slice(0, 3), ["", "", ""]);
});

test("archives further down are read where it is clear which are meant", async () => {
  const table = (...names: string[]) => parquet(...names);
  const repo = await folder("repo", {
    "README.md": "",
    "data/train-00000-of-00002.parquet": table("a"),
    "data/train-00001-of-00002.parquet": table("b"),
    "data/test-00000-of-00001.parquet": table("t"),
    "data/validation-00000-of-00001.parquet": table("v"),
  });
  const train = [
    ["train-00000-of-00002.parquet", ["caption a"]],
    ["train-00001-of-00002.parquet", ["caption b"]],
  ];
  for (const spec of [repo, join(repo, "data")]) {
    const source = await openSource(spec);
    assert.deepEqual(await contents(source), train);
    assert.match(
      source.notes!.join(),
      /^Reading the 2 files named train; left out are 1 file of test \((data\/)?test-.* and 1 file of validation/,
    );
    // To look at, all pictures are wanted.
    assert.equal((await openSource(spec, { captions: "optional" })).shards.length, 4);
  }
  const sets = await folder("sets", {
    "shards/0.tar": await tar("0"),
    "shards/1.tar": await tar("1"),
  });
  const source = await openSource(sets);
  assert.deepEqual(await contents(source), [
    ["0.tar", ["caption 0"]],
    ["1.tar", ["caption 1"]],
  ]);
  assert.deepEqual(source.notes, [`Reading 2 files of ${join(sets, "shards")}.`]);

  const parts = await folder("parts", {
    "train/0.tar": await tar("0"),
    "val/1.tar": await tar("1"),
    "preview/logo.png": "",
    "preview/other/logo.png": "",
  });
  assert.deepEqual(await contents(await openSource(parts)), [["0.tar", ["caption 0"]]]);

  const several = await folder("several", {
    "en/train-0.parquet": table("e"),
    "de/train-0.parquet": table("d"),
    "de/test-0.parquet": table("d"),
  });
  assert.match(
    await failure(several),
    /several holds no pictures of its own, but archives of them: de \(2 files\), en \(1 file\)\. Name one/,
  );

  const pictures = await folder("with-pictures", {
    "a.png": "",
    "a.txt": "a",
    "old/0.tar": await tar("0"),
  });
  const mixed = await openSource(pictures);
  assert.deepEqual(await contents(mixed), [["with-pictures", ["a"]]]);
  assert.deepEqual(mixed.notes, [
    "Left out archives among the pictures: old (1 file). Name them to read them.",
  ]);
});

test("a list in a folder comes before its archives", async () => {
  const path = await folder("list-first", {
    "metadata.csv": "file_name,text\na.png,listed\n",
    "a.png": "",
    "0.tar": await tar("a"),
  });
  assert.deepEqual(await contents(await openSource(path)), [["list-first", ["listed"]]]);
});

test("braces name several places; a name with braces is itself", async () => {
  const path = await folder("braces", {
    "08.tar": await tar("08"),
    "09.tar": await tar("09"),
    "10.tar": await tar("10"),
    "cats/a.png": "",
    "cats/a.txt": "a cat",
    "t.parquet": parquet("t"),
    "{0..1}.tar": await tar("odd"),
  });
  assert.deepEqual(await contents(await openSource(`${path}/{08..10}.tar`)), [
    ["08.tar", ["caption 08"]],
    ["09.tar", ["caption 09"]],
    ["10.tar", ["caption 10"]],
  ]);
  assert.deepEqual(await contents(await openSource(`${path}/{t.parquet,cats}`)), [
    ["t.parquet", ["caption t"]],
    ["cats", ["a cat"]],
  ]);
  assert.deepEqual(await contents(await openSource(`${path}/{0..1}.tar`)), [
    ["{0..1}.tar", ["caption odd"]],
  ]);
  assert.match(await failure(`${path}/{10..11}.tar`), /11\.tar does not exist/);
});

test("a local archive that goes missing is an entry with its reason", async () => {
  const path = await folder("missing", { "0.tar": await tar("0") });
  const source = await openSource(path);
  await rm(join(path, "0.tar"));
  assert.deepEqual(await contents(source), [["0.tar", ["the shard cannot be read"]]]);
});

test("what is no source says what would be", async () => {
  assert.match(await failure(join(root, "nowhere")), /nowhere does not exist/);
  assert.match(
    await failure("https://example.org/shards/"),
    /Web servers do not list folders; name/,
  );
  assert.match(
    await failure("ftp://example.org/a.tar"),
    /addresses are http:\/\/, https:\/\/ or s3:\/\//,
  );
});

/** Objects of the server by path; what it says of AWS's protocol is no more than is asked for. */
const objects = new Map<string, Uint8Array>();
let requests: { method: string; url: string; authorization: string | undefined }[];
let drops = 0;
const server = createServer(serve);
let address: string;

before(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: address,
    AWS_ACCESS_KEY_ID: "key",
    AWS_SECRET_ACCESS_KEY: "secret",
  });
  for (const i of [0, 1, 2]) objects.set(`/bucket/shards/0${i}.tar`, await tar(`${i}`));
  objects.set("/bucket/shards/00.parquet", parquet("side"));
  objects.set("/bucket/tables/a b.parquet", parquet("x", "y"));
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests = [];
});

function serve({ method, url, headers }: IncomingMessage, response: ServerResponse): void {
  requests.push({ method: method!, url: url!, authorization: headers.authorization });
  const { pathname, searchParams } = new URL(url!, address);
  if (searchParams.get("list-type") === "2") {
    list(pathname, searchParams, response);
    return;
  }
  const object = objects.get(decodeURIComponent(pathname));
  if (object === undefined) {
    response.writeHead(404, { "content-type": "application/xml" });
    response.end("<Error><Code>NoSuchKey</Code><Message>No such key.</Message></Error>");
    return;
  }
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
  const start = Number(first ?? 0);
  const end = last ? Number(last) + 1 : object.length;
  response.writeHead(first === undefined ? 200 : 206, {
    etag: '"e"',
    "content-length": end - start,
    ...(first !== undefined && { "content-range": `bytes ${start}-${end - 1}/${object.length}` }),
  });
  const body = object.subarray(start, end);
  if (drops-- > 0) response.write(body.subarray(0, 700), () => response.destroy());
  else response.end(body);
}

/** A page of two names of those in a folder. */
function list(bucket: string, query: URLSearchParams, response: ServerResponse): void {
  const prefix = `${bucket.replace(/\/$/, "")}/${query.get("prefix")}`;
  const names = [...objects.keys()]
    .filter((name) => name.startsWith(prefix) && !name.slice(prefix.length).includes("/"))
    .map((name) => name.slice("/bucket/".length));
  const from = Number(query.get("continuation-token") ?? 0);
  const more = from + 2 < names.length;
  response.writeHead(200, { "content-type": "application/xml" });
  response.end(
    `<ListBucketResult><IsTruncated>${more}</IsTruncated>` +
      (more ? `<NextContinuationToken>${from + 2}</NextContinuationToken>` : "") +
      names
        .slice(from, from + 2)
        .map((name) => `<Contents><Key>${name}</Key></Contents>`)
        .join("") +
      "</ListBucketResult>",
  );
}

test("http: files by braces, signatures in no name", async () => {
  const source = await openSource(
    `${address}/bucket/shards/{00..02}.tar?signature=secret`,
    PATIENCE,
  );
  assert.equal(source.name, `${address}/bucket/shards/{00..02}.tar`);
  assert.equal(source.shards[2]!.name, `${address}/bucket/shards/02.tar`);
  // Only the first is asked for before it is read.
  assert.deepEqual(requests.length, 1);
  assert.equal(requests[0]!.url, "/bucket/shards/00.tar?signature=secret");
  assert.deepEqual(await contents(source), [
    ["00.tar", ["caption 0"]],
    ["01.tar", ["caption 1"]],
    ["02.tar", ["caption 2"]],
  ]);
  const table = await openSource(`${address}/bucket/tables/a%20b.parquet`, PATIENCE);
  assert.deepEqual(await contents(table), [["a%20b.parquet", ["caption x", "caption y"]]]);
});

test("http: a first file that is not there fails at once, a later one is an entry", async () => {
  const wrong = `${address}/bucket/shards/{03..04}.tar`;
  assert.match(
    await failure(wrong),
    /03\.tar: the shard cannot be read: the server answered 404 Not/,
  );
  const source = await openSource(`${address}/bucket/shards/{02..03}.tar`, PATIENCE);
  assert.deepEqual((await contents(source))[1], ["03.tar", ["the shard cannot be read"]]);
});

test("s3: a folder is listed page by page, files are read and resumed", async () => {
  for (const folder of ["s3://bucket/shards", "s3://bucket/shards/"]) {
    const source = await openSource(folder, PATIENCE);
    assert.deepEqual(
      source.shards.map(({ name }) => name),
      [0, 1, 2].map((i) => `s3://bucket/shards/0${i}.tar`),
    );
    drops = 1;
    assert.deepEqual(await contents(source), [
      ["00.tar", ["caption 0"]],
      ["01.tar", ["caption 1"]],
      ["02.tar", ["caption 2"]],
    ]);
  }
  assert.ok(requests.every(({ authorization }) => authorization!.startsWith("AWS4-HMAC-SHA256 ")));
  assert.ok(requests.filter(({ url }) => url.includes("continuation-token")).length >= 2);

  const braces = await openSource("s3://bucket/{shards/01.tar,tables/}", PATIENCE);
  assert.deepEqual(await contents(braces), [
    ["01.tar", ["caption 1"]],
    ["a b.parquet", ["caption x", "caption y"]],
  ]);
});

test("s3: what is not there", async () => {
  assert.match(
    await failure("s3://bucket/shards/09.tar"),
    /^s3:\/\/bucket\/shards\/09\.tar: the shard cannot be read: NoSuchKey, No such key\. \(404\)$/,
  );
  assert.match(
    await failure("s3://bucket/empty"),
    /bucket\/empty\/ holds no \.tar or \.parquet file/,
  );
  assert.match(await failure("s3:///a.tar"), /names no bucket/);
});

test("s3: without AWS's package it says how to get it", async () => {
  await assert.rejects(
    S3.connect(() => Promise.reject(new Error("Cannot find package"))),
    (error) =>
      error instanceof ClipsmithError && /npm install @aws-sdk\/client-s3$/.test(error.message),
  );
});
