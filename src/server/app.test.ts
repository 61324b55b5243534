import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Hono } from "hono";
import sharp from "sharp";
import { buildIndex, type PictureIndex, writeIndex } from "../search/index.js";
import type { ApiError, ApiInfo, ApiMetrics, ApiSearch, ApiVersion } from "./api.js";
import { createApp } from "./app.js";
import { colourEmbedder, drawColours, shapePicture } from "./colours.test.fixture.js";
import { serve } from "./serve.js";

let folder: string;
let index: PictureIndex;
let app: Hono;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "clipsmith-app-"));
  const samples = await drawColours(join(folder, "pictures"));
  const svg = join(folder, "pictures", "drawing.svg");
  await writeFile(svg, shapePicture("teal", "circle"));
  const tiff = join(folder, "pictures", "scan.tiff");
  await sharp(shapePicture("grey", "circle")).tiff().toFile(tiff);
  samples.push({ picture: svg, captions: ["a drawing"] }, { picture: tiff, captions: ["a scan"] });
  ({ index } = await buildIndex(join(folder, "index"), colourEmbedder, samples));

  const run = join(folder, "my-run");
  await mkdir(run);
  const lines = Array.from({ length: 2500 }, (_, step) => JSON.stringify({ step, loss: 1 / step }));
  lines.splice(1200, 0, JSON.stringify({ step: 1200, validationLoss: 0.5 }));
  await writeFile(join(run, "metrics.jsonl"), `${lines.join("\n")}\n{"step": 25`);
  await writeFile(join(run, "metrics.json"), JSON.stringify({ recallAt1: 0.5 }));
  app = createApp({ embedder: colourEmbedder, index, run });
});
after(async () => {
  index.close();
  await rm(folder, { recursive: true, force: true });
});

async function json<T>(response: Response | Promise<Response>, status = 200): Promise<T> {
  const { status: got, headers } = await response;
  const body = await (await response).json();
  assert.equal(got, status, JSON.stringify(body));
  assert.match(headers.get("content-type") ?? "", /^application\/json/);
  return body as T;
}

async function errorOf(response: Response | Promise<Response>, status: number): Promise<string> {
  return (await json<ApiError>(response, status)).error;
}

test("info describes the index and offers captions to try", async () => {
  const { version, ...info } = await json<ApiInfo>(app.request("/api/info"));
  assert.deepEqual(await json<ApiVersion>(app.request("/api/version")), { version });
  assert.deepEqual(
    { ...info, examples: info.examples.length, pictures: info.pictures.length },
    {
      title: "my-run",
      count: 32,
      width: 32,
      examples: 8,
      pictures: 24,
      hasRun: true,
      canTrain: false,
    },
  );
  assert.equal(info.examples[0], "a red square");
});

test("a text finds the pictures it describes, best first", async () => {
  const { matches } = await json<ApiSearch>(app.request("/api/search?text=blue&limit=5"));
  assert.equal(matches.length, 5);
  const names = matches.map(({ name }) => name).slice(0, 3);
  assert.deepEqual(names.sort(), ["blue-circle.png", "blue-diamond.png", "blue-square.png"]);
  assert.equal(matches[0]!.captions.length, 2);
  const scores = matches.map(({ score }) => score);
  assert.deepEqual(
    [...scores].sort((a, b) => b - a),
    scores,
  );
  assert.ok(scores[0]! > 0.9 && scores[0]! <= 1.00001 && scores[4]! < 0.7, `scores ${scores}`);
});

test("a picture, sent or indexed, finds the pictures like it", async () => {
  const body = await sharp(shapePicture("pink", "diamond")).jpeg().toBuffer();
  const sent = await json<ApiSearch>(
    app.request("/api/search?limit=3", { method: "POST", body: new Uint8Array(body) }),
  );
  assert.deepEqual(
    sent.matches.map(({ name }) => name.split("-")[0]),
    ["pink", "pink", "pink"],
  );
  const { id, name } = sent.matches[0]!;
  const same = await json<ApiSearch>(app.request(`/api/search?picture=${id}&limit=1`));
  assert.equal(same.matches[0]?.name, name);
  assert.ok(same.matches[0].score > 0.999);
});

test("a search that makes no sense is answered with what is wrong", async () => {
  for (const query of ["", "?text=", "?text=+", "?text=a&limit=0", "?text=a&limit=900", "?q=a"]) {
    assert.match(await errorOf(app.request(`/api/search${query}`), 400), /\?text=WORDS/);
  }
  for (const query of ["?picture=", "?picture=-1", "?picture=1e2", "?picture=1&text=a"]) {
    await errorOf(app.request(`/api/search${query}`), 400);
  }
  await errorOf(app.request("/api/search?picture=32"), 404);
  const post = (body: Uint8Array<ArrayBuffer> | string) =>
    app.request("/api/search", { method: "POST", body });
  assert.match(await errorOf(post("not a picture"), 422), /cannot be read/);
  assert.match(await errorOf(post(""), 400), /body/);
  assert.match(await errorOf(post(new Uint8Array(20 * 1024 ** 2 + 1)), 413), /20 MB/);
  assert.match(await errorOf(app.request("/api/nothing"), 404), /\/api\/nothing/);
});

test("pictures are served by their row in the index, and by nothing else", async () => {
  const { matches } = await json<ApiSearch>(app.request("/api/search?text=red&limit=1"));
  const { id, name } = matches[0]!;
  const response = await app.request(`/api/pictures/${id}`);
  assert.equal(response.headers.get("content-type"), "image/png");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  const file = await readFile(join(folder, "pictures", name));
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), file);

  const etag = response.headers.get("etag")!;
  const again = await app.request(`/api/pictures/${id}`, { headers: { "if-none-match": etag } });
  assert.equal(again.status, 304);

  for (const path of ["32", "99999999999999999999", "-1", "..%2Findex", "%2e%2e/x", "1.5", ""]) {
    await errorOf(app.request(`/api/pictures/${path}`), 404);
  }
});

test("a picture that browsers cannot show is converted, and a drawing may not run scripts", async () => {
  const scan = await app.request("/api/pictures/31");
  assert.equal(scan.headers.get("content-type"), "image/webp");
  assert.equal((await sharp(await scan.arrayBuffer()).metadata()).format, "webp");
  const drawing = await app.request("/api/pictures/30");
  assert.equal(drawing.headers.get("content-type"), "image/svg+xml");
  assert.match(drawing.headers.get("content-security-policy")!, /default-src 'none'.*sandbox/);
});

test("a picture without a file of its own is shown by its small copy", async () => {
  const thumbnail = await sharp(shapePicture("red", "circle")).webp().toBuffer();
  async function* batches() {
    const { embeddings } = await colourEmbedder.embedPictures([thumbnail]);
    yield { samples: [{ name: "s.tar/1", captions: ["red"], thumbnail }], embeddings };
  }
  const target = join(folder, "thumbnails");
  const built = await writeIndex(target, colourEmbedder.width, batches());
  const other = createApp({ embedder: colourEmbedder, index: built.index });
  const { matches } = await json<ApiSearch>(other.request("/api/search?text=red"));
  assert.deepEqual(
    matches.map(({ name }) => name),
    ["1"],
  );
  const response = await other.request("/api/pictures/0");
  assert.equal(response.headers.get("content-type"), "image/webp");
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), thumbnail);
  const known = { "if-none-match": response.headers.get("etag")! };
  assert.equal((await other.request("/api/pictures/0", { headers: known })).status, 304);
  built.index.close();
});

test("a picture whose file is gone is not shown, and counted", async () => {
  const names = ["red-circle.png", "red-square.png", "blue-circle.png"];
  const samples = names.map((name) => ({ picture: join(folder, "gone", name), captions: [name] }));
  await cp(join(folder, "pictures"), join(folder, "gone"), { recursive: true });
  const built = await buildIndex(join(folder, "gone-index"), colourEmbedder, samples);
  await rm(samples[0]!.picture);
  const other = createApp({ embedder: colourEmbedder, index: built.index });
  assert.match(await errorOf(other.request("/api/pictures/0"), 404), /gone/);
  const info = await json<ApiInfo>(other.request("/api/info"));
  assert.deepEqual([info.count, info.pictures], [3, [1, 2]]);
  const body = new Uint8Array(await sharp(shapePicture("red", "circle")).png().toBuffer());
  for (const [query, init] of [
    ["?text=red", {}],
    ["?picture=0", {}],
    ["", { method: "POST", body }],
  ] as const) {
    const found = await json<ApiSearch>(other.request(`/api/search${query}`, init));
    assert.deepEqual(
      [found.matches.map(({ name }) => name), found.gone],
      [["red-square.png", "blue-circle.png"], 1],
      query,
    );
  }
  built.index.close();
});

test("a server goes over to another index, and says so", async () => {
  const server = await serve({ embedder: colourEmbedder, index, note: "Half-trained.", port: 0 });
  const [info, version, search] = [
    () => json<ApiInfo>(fetch(`${server.url}/api/info`)),
    () => json<ApiVersion>(fetch(`${server.url}/api/version`)),
    () => json<ApiSearch>(fetch(`${server.url}/api/search?text=red`)),
  ];
  const before = await info();
  assert.deepEqual([before.count, before.note], [32, "Half-trained."]);
  assert.equal((await version()).version, before.version);

  const samples = [{ picture: join(folder, "pictures", "red-circle.png"), captions: ["a circle"] }];
  const other = await buildIndex(join(folder, "other"), colourEmbedder, samples);
  await server.replace({ embedder: colourEmbedder, index: other.index });
  const now = await info();
  assert.deepEqual([now.count, now.note, now.examples], [1, undefined, ["a circle"]]);
  assert.ok(now.version > before.version);
  assert.equal((await version()).version, now.version);
  assert.deepEqual(
    (await search()).matches.map(({ name }) => name),
    ["red-circle.png"],
  );
  await server.close();
  other.index.close();
});

test("metrics are thinned, but neither their ends nor rare rows are lost", async () => {
  const { history, final } = await json<ApiMetrics>(app.request("/api/metrics"));
  assert.equal(history.length, 1000);
  assert.deepEqual(history[0], { step: 0, loss: null });
  assert.deepEqual(history.at(-1), { step: 2499, loss: 1 / 2499 });
  assert.equal(history.filter((row) => "validationLoss" in row).length, 1);
  const steps = history.map((row) => Number(row.step));
  assert.deepEqual(
    [...steps].sort((a, b) => a - b),
    steps,
  );
  assert.deepEqual(final, { recallAt1: 0.5 });

  const without = createApp({ embedder: colourEmbedder, index });
  assert.deepEqual(await json(without.request("/api/metrics")), { history: [] });
});

test("the page may use nothing but this server", async () => {
  const response = await app.request("/");
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type")!, /^text\/html/);
  assert.match(response.headers.get("content-security-policy")!, /default-src 'self'/);
  const html = await response.text();
  assert.doesNotMatch(html, /https?:\/\//);
  for (const [, asset] of html.matchAll(/(?:src|href)="([^"#][^"]*)"/g)) {
    assert.equal((await app.request(`/${asset}`)).status, 200, asset);
  }
});

test("other sites and other host names are turned away on every route", async () => {
  const status = async (path: string, headers: Record<string, string>, method = "GET") =>
    (await app.request(path, { headers, method })).status;
  const own = { host: "127.0.0.1:7860" };
  const url = "http://127.0.0.1:7860";
  assert.equal(await status(`${url}/api/info`, own), 200);
  assert.equal(await status(`${url}/api/info`, { ...own, origin: url }), 200);
  assert.equal(await status("http://[::1]:7860/api/info", { host: "[::1]:7860" }), 200);
  assert.equal(await status("http://localhost/api/info", { host: "LOCALHOST:80" }), 200);

  for (const path of ["/", "/main.js", "/api/info", "/api/search?text=a", "/api/pictures/0"]) {
    assert.equal(await status(`http://evil.example${path}`, { host: "evil.example" }), 403);
    assert.equal(await status(`${url}${path}`, { host: "evil.example" }), 403);
    assert.equal(await status(`http://127.0.0.1.evil.example${path}`, {}), 403);
    for (const origin of ["http://evil.example", "http://127.0.0.1:8000", "null"]) {
      assert.equal(await status(`${url}${path}`, { ...own, origin }), 403);
    }
    for (const site of ["cross-site", "same-site"]) {
      assert.equal(await status(`${url}${path}`, { ...own, "sec-fetch-site": site }), 403);
    }
  }
  const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
  assert.equal(await status(`${url}/`, { ...own, ...link, "sec-fetch-dest": "document" }), 200);
  assert.equal(await status(`${url}/`, { ...own, ...link, "sec-fetch-dest": "iframe" }), 403);

  const named = createApp({ embedder: colourEmbedder, index, hosts: ["10.0.0.5"] });
  assert.equal((await named.request("http://10.0.0.5:7860/api/info")).status, 200);
  assert.equal((await named.request("http://10.0.0.6:7860/api/info")).status, 403);
});

test("serve answers over the network, and names a port that is taken", async () => {
  const server = await serve({ embedder: colourEmbedder, index, port: 0 });
  assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  const info = await json<ApiInfo>(fetch(`${server.url}/api/info`));
  assert.equal(info.canTrain, true);
  await errorOf(fetch(`${server.url}/api/info`, { headers: { origin: "http://x.example" } }), 403);
  await server.close();
  await assert.rejects(fetch(server.url));

  const other = createServer();
  await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
  const { port } = other.address() as AddressInfo;
  await assert.rejects(serve({ embedder: colourEmbedder, index, port }), {
    name: "ClipsmithError",
    message: new RegExp(`${port}.*--port`),
  });
  other.close();
});
