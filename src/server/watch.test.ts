import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ReportData } from "../report/index.js";
import { makeRun } from "../report/testing.js";
import { createWatchApp } from "./watch.js";

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-watch-"));
});
after(() => rmSync(folder, { recursive: true }));

test("a run's report and its page are served to this machine's own page only", async () => {
  const run = join(folder, "run");
  makeRun(run, 3);
  const app = createWatchApp({ run });
  const report = (await (await app.request("/api/report")).json()) as ReportData;
  assert.deepEqual([report.title, report.totalSteps, report.history.length], ["run", 400, 3]);

  const page = await app.request("/");
  assert.match(page.headers.get("content-security-policy")!, /default-src 'self'/);
  const html = await page.text();
  for (const [, asset] of html.matchAll(/(?:src|href)="([^"#][^"]*)"/g)) {
    assert.equal((await app.request(`/${asset}`)).status, 200, asset);
  }
  assert.equal((await app.request("/index.html")).status, 404);
  const url = "http://127.0.0.1:7861/api/report";
  const status = async (address: string, headers: Record<string, string>) =>
    (await app.request(address, { headers })).status;
  assert.equal(await status(url, { host: "127.0.0.1:7861" }), 200);
  assert.equal(await status(url, { host: "evil.example" }), 403);
  assert.equal(await status("http://evil.example/api/report", { host: "evil.example" }), 403);
  assert.equal(await status(url, { origin: "http://evil.example" }), 403);
  assert.equal(await status(url, { "sec-fetch-site": "cross-site" }), 403);
});
