import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import type { ByteFile } from "./byte-file.js";
import { httpFile } from "./http-file.js";
import { tarShard } from "./tar-shard.js";
import { entriesOf, tarOf } from "./testing.js";

/** What the server does with its next request, in place of answering as it should. */
type Fault =
  | { readonly kind: "drop" | "stall"; readonly after: number }
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "hang" };

let file: Buffer;
let tag: string | undefined;
let ranges: boolean;
let faults: Fault[];
/** A connection to be dropped as soon as the file has been read to `at`. */
let held: { readonly response: ServerResponse; readonly at: number } | undefined;
let requests: { readonly range: string | undefined; readonly ifRange: string | undefined }[];

const server = createServer(answer);
let address: string;

function answer({ headers }: IncomingMessage, response: ServerResponse): void {
  requests.push({ range: headers.range, ifRange: headers["if-range"] as string | undefined });
  const fault = faults.shift();
  if (fault?.kind === "hang") return;
  if (fault?.kind === "status") {
    response.writeHead(fault.status).end("<html>");
    return;
  }
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
  const same = headers["if-range"] === undefined || headers["if-range"] === tag;
  const partial = ranges && first !== undefined && same;
  const start = partial ? Number(first) : 0;
  const end = partial && last ? Number(last) + 1 : file.length;
  response.writeHead(partial ? 206 : 200, {
    "content-length": end - start,
    ...(tag !== undefined && { etag: tag }),
    ...(partial && { "content-range": `bytes ${start}-${end - 1}/${file.length}` }),
  });
  const body = file.subarray(start, end);
  if (fault === undefined) {
    response.end(body);
  } else {
    response.write(body.subarray(0, fault.after));
    // Dropping it now might lose bytes that are on their way.
    if (fault.kind === "drop") held = { response, at: start + fault.after };
  }
}

before(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.tar`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  file = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) % 251));
  tag = '"v1"';
  ranges = true;
  faults = [];
  held = undefined;
  requests = [];
});

const PATIENCE = { tries: 3, waitMs: 1, silenceMs: 600_000 };

function open(options = {}): ByteFile {
  const remote = httpFile(address, { ...PATIENCE, ...options });
  return {
    size: () => remote.size(),
    async *read(start = 0, end) {
      let at = start;
      for await (const chunk of remote.read(start, end)) {
        at += chunk.length;
        if (held !== undefined && at >= held.at) held.response.destroy();
        yield chunk;
      }
    },
  };
}

async function read(options = {}, start?: number, end?: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of open(options).read(start, end)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("a file and parts of it are read, with or without a server that knows ranges", async () => {
  for (ranges of [true, false]) {
    assert.deepEqual(await read(), file);
    assert.deepEqual(await read({}, 1000), file.subarray(1000));
    assert.deepEqual(await read({}, 1000, 2000), file.subarray(1000, 2000));
    assert.deepEqual(await read({}, 5, 5), Buffer.alloc(0));
    assert.equal(await open().size(), file.length);
  }
});

test("a connection that drops, again and again, is taken up where it stopped", async () => {
  faults = [1, 100_000, 7, 50_000].map((after) => ({ kind: "drop", after }));
  assert.deepEqual(await read(), file);
  assert.equal(requests.length, 5);
  assert.deepEqual(requests[0], { range: undefined, ifRange: undefined });
  for (const { range, ifRange } of requests.slice(1)) {
    assert.match(range!, /^bytes=\d+-$/);
    assert.equal(ifRange, '"v1"');
  }
  assert.deepEqual(
    requests.map(({ range }) => Number(/\d+/.exec(range ?? "0")![0])),
    [0, 1, 100_001, 100_008, 150_008],
  );
});

test("without ranges it starts over and passes over what is known", async () => {
  ranges = false;
  faults = [
    { kind: "drop", after: 1000 },
    { kind: "drop", after: 60_000 },
  ];
  assert.deepEqual(await read(), file);
  assert.equal(requests.length, 3);
});

test("silence counts as a lost connection, before the answer and in it", async () => {
  faults = [{ kind: "hang" }, { kind: "stall", after: 1000 }, { kind: "stall", after: 1000 }];
  assert.deepEqual(await read({ silenceMs: 500, tries: 100 }), file);
  assert.ok(requests.length >= 4);
});

test("a server that is busy is asked again, one that refuses is not", async () => {
  faults = [503, 429].map((status) => ({ kind: "status", status }));
  assert.deepEqual(await read(), file);
  faults = [{ kind: "status", status: 404 }];
  requests = [];
  await assert.rejects(
    read(),
    /^Error: the shard cannot be read: the server answered 404 Not Found$/,
  );
  assert.equal(requests.length, 1);
});

test("tries count anew with every new byte, and run out", async () => {
  faults = Array.from({ length: 20 }, () => ({ kind: "drop", after: 1 }));
  assert.deepEqual(await read(), file);
  assert.equal(requests.length, 21);

  requests = [];
  faults = [{ kind: "drop", after: 10 }, ...Array(3).fill({ kind: "status", status: 500 })];
  const reason = /the shard cannot be read: the server answered 500 .*, at byte 10, in 3 tries$/;
  await assert.rejects(read(), reason);
  assert.equal(requests.length, 3);

  const closed = createServer();
  await new Promise<void>((done) => closed.listen(0, "127.0.0.1", done));
  const { port } = closed.address() as AddressInfo;
  await new Promise((done) => closed.close(done));
  const nobody = httpFile(`http://127.0.0.1:${port}/a.tar`, PATIENCE);
  await assert.rejects(nobody.size(), /the shard cannot be read: .*ECONNREFUSED.*, in 3 tries$/);
});

test("waits grow", async () => {
  faults = Array(3).fill({ kind: "status", status: 500 });
  const start = performance.now();
  await read({ tries: 4, waitMs: 20 });
  // Timers may end a millisecond early.
  assert.ok(performance.now() - start >= 20 + 40 + 80 - 3);
});

test("a file that changes meanwhile is not continued by its new version", async () => {
  for (ranges of [true, false]) {
    tag = '"v1"';
    faults = [{ kind: "drop", after: 1000 }];
    const reading = (async () => {
      for await (const _ of open().read()) tag = '"v2"';
    })();
    await assert.rejects(reading, /^Error: the shard changed while it was read$/);
  }
});

test("a shard is whole in spite of faults; given up, it keeps what came", async () => {
  file = await tarOf(
    Array.from({ length: 50 }, (_, i) => [
      [`${i}.jpg`, `picture ${i} `.repeat(200)] as const,
      [`${i}.txt`, `caption ${i}`] as const,
    ]).flat(),
  );
  const all = await entriesOf(tarShard("web.tar", open));
  assert.equal(all.length, 50);
  faults = [
    { kind: "drop", after: 40_000 },
    { kind: "status", status: 502 },
    { kind: "drop", after: 700 },
  ];
  assert.deepEqual(await entriesOf(tarShard("web.tar", open)), all);
  faults = [{ kind: "drop", after: 40_000 }, ...Array(3).fill({ kind: "status", status: 503 })];
  const some = await entriesOf(tarShard("web.tar", open));
  assert.ok(some.length > 2 && some.length < 20);
  assert.deepEqual(some.slice(0, -1), all.slice(0, some.length - 1));
  assert.deepEqual(some.at(-1), {
    where: "web.tar",
    reason:
      "the shard cannot be read: the server answered 503 Service Unavailable, at byte 40000, in 3 tries",
    rest: true,
  });
});

test("a server sends no more than is taken", async () => {
  file = Buffer.alloc(2 ** 26);
  for await (const _ of httpFile(address, PATIENCE).read()) {
    await new Promise((done) => setTimeout(done, 50));
    assert.ok(process.memoryUsage().arrayBuffers - file.length < 2 ** 25);
    break;
  }
});
