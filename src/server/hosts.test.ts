import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { buildIndex, type PictureIndex } from "../search/index.js";
import { createApp } from "./app.js";
import { colourEmbedder, drawColours } from "./colours.test.fixture.js";
import { type ServeOptions, serve } from "./serve.js";

let folder: string;
let index: PictureIndex;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-hosts-"));
  const samples = await drawColours(join(folder, "pictures"));
  ({ index } = await buildIndex(join(folder, "index"), colourEmbedder, samples.slice(0, 2)));
});
after(() => {
  index.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The status that a server on this machine answers a request with. */
function statusOf(url: string, headers: Readonly<Record<string, string>>): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { headers }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    })
      .on("error", reject)
      .end();
  });
}

async function withServer(
  options: Partial<ServeOptions>,
  work: (port: string, urls: readonly string[]) => Promise<void>,
): Promise<void> {
  const server = await serve({ embedder: colourEmbedder, index, port: 0, ...options });
  try {
    await work(new URL(server.url).port, server.urls);
  } finally {
    await server.close();
  }
}

/** What a server that listens so answers for the hosts that it is asked as. */
const answers: readonly {
  readonly options: Partial<ServeOptions>;
  readonly own: readonly string[];
  readonly foreign: readonly string[];
}[] = [
  {
    options: {},
    own: ["127.0.0.1", "LocalHost", "[::1]", "127.1.2.3"],
    foreign: ["192.168.1.5", "evil.example.org", "127.0.0.1.evil.example.org", "photos"],
  },
  {
    options: { host: "0.0.0.0" },
    own: ["127.0.0.1", "localhost", "192.168.1.5", "0.0.0.0", "[2001:db8::5]"],
    foreign: ["evil.example.org", "192.168.1.5.evil.example.org", "photos", "1.2.3.4.5"],
  },
  {
    options: { host: "0.0.0.0", allowedHosts: ["photos.example.org", "Photos"] },
    own: ["photos.example.org", "PHOTOS.Example.org", "photos", "192.168.1.5"],
    foreign: ["example.org", "evil.example.org", "xphotos.example.org"],
  },
  {
    options: { host: "LOCALHOST", allowedHosts: ["photos.example.org"] },
    own: ["localhost", "127.0.0.1", "photos.example.org"],
    foreign: ["192.168.1.5", "evil.example.org"],
  },
];

for (const { options, own, foreign } of answers) {
  const { host = "127.0.0.1", allowedHosts = [] } = options;
  test(`which hosts are answered for: ${[host, ...allowedHosts].join(", ")}`, () =>
    withServer(options, async (port) => {
      const url = `http://127.0.0.1:${port}/api/info`;
      for (const name of own) {
        for (const asked of [name, `${name}:${port}`, `${name}:80`]) {
          assert.equal(await statusOf(url, { host: asked }), 200, asked);
        }
      }
      for (const name of foreign) {
        for (const asked of [name, `${name}:${port}`]) {
          const status = await statusOf(url, { host: asked });
          assert.ok(status === 403 || status === 400, `${asked}: ${status}`);
        }
      }
    }));
}

test("a Host that is none is the client's mistake", () =>
  withServer({ host: "0.0.0.0" }, async (port) => {
    const url = `http://127.0.0.1:${port}/api/info`;
    const wrong = [
      ...["127.0.0.999", "127.0.0.1.2.3", "256.1.1.1", "[::1", "::1", "[::g]", "a b", "a:b:c", ":"],
      ...[
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "user@127.0.0.1",
        "127.0.0.1/x",
        "127.0.0.1?",
        "%",
        "\\",
      ],
    ];
    for (const host of wrong) {
      const status = await statusOf(url, { host });
      assert.ok(status === 400 || status === 403, `${host}: ${status}`);
    }
  }));

test("a proxy in front may speak https, under a name that is allowed", async () => {
  const app = createApp({ embedder: colourEmbedder, index, hosts: ["Photos.example.org"] });
  const status = async (host: string, origin: string) => {
    const url = `http://${host}/api/search?limit=1`;
    const headers = { host, origin };
    return (await app.request(url, { method: "POST", body: "x", headers })).status;
  };
  // No picture, but heard.
  const heard = 422;
  assert.equal(await status("photos.example.org", "https://photos.example.org"), heard);
  assert.equal(await status("photos.example.org:443", "https://photos.example.org"), heard);
  assert.equal(await status("photos.example.org:8443", "https://photos.example.org:8443"), heard);
  assert.equal(await status("photos.example.org", "http://photos.example.org"), heard);
  for (const [host, origin] of [
    ["photos.example.org", "https://evil.example.org"],
    ["photos.example.org", "https://photos.example.org:8443"],
    ["photos.example.org", "null"],
    ["photos.example.org", "ftp://photos.example.org"],
    ["evil.example.org", "https://evil.example.org"],
  ] as const) {
    assert.equal(await status(host, origin), 403, `${host} from ${origin}`);
  }
});

test("listening on all addresses, a server names those that reach it", () =>
  withServer({ host: "0.0.0.0" }, async (port, urls) => {
    const outer = Object.values(networkInterfaces())
      .flatMap((addresses = []) => addresses)
      .filter(({ family, internal }) => family === "IPv4" && !internal)
      .map(({ address }) => address);
    assert.deepEqual(
      urls,
      ["127.0.0.1", ...outer].map((address) => `http://${address}:${port}`),
    );
    for (const url of urls) assert.equal((await fetch(`${url}/api/info`)).status, 200, url);
  }));

test("trainings are for a server that nobody else reaches", async () => {
  const canTrain = async (options: Partial<ServeOptions>) => {
    let can: unknown;
    await withServer(options, async (port) => {
      const response = await fetch(`http://127.0.0.1:${port}/api/info`);
      can = ((await response.json()) as { canTrain: boolean }).canTrain;
    });
    return can;
  };
  assert.equal(await canTrain({}), true);
  assert.equal(await canTrain({ host: "0.0.0.0" }), false);
  assert.equal(await canTrain({ allowedHosts: ["photos.example.org"] }), false);
});
