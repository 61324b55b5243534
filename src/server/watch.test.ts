import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, look, skip, visit } from "../report/browser.test.fixture.js";
import type { ReportData } from "../report/index.js";
import { appendRows, makeRun, rowsOf } from "../report/testing.js";
import { createWatchApp, serveReport } from "./watch.js";

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

test("the page follows a training, and says when it is over", { skip }, async () => {
  const run = join(folder, "live");
  makeRun(run, 100);
  const server = await serveReport({ run, port: 0 });
  assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  const browser = await launch();
  try {
    await visit(browser, server.url, async (page) => {
      const state = page.locator("#state");
      await state.filter({ hasText: "Training" }).waitFor();
      const facts = page.locator("#facts");
      await facts.filter({ hasText: "100 of 400" }).waitFor();
      assert.equal(await page.locator("#progress").getAttribute("value"), "0.25");
      await page.locator("canvas").first().waitFor();
      await page.locator("#settings summary").first().click();
      for (let step = 101; step <= 200; step++) appendRows(run, rowsOf(step));
      await facts.filter({ hasText: "200 of 400" }).waitFor();
      await state.filter({ hasText: /Training, about .* left/ }).waitFor();
      // What was opened stays open.
      await page.getByRole("row", { name: "steps 400" }).waitFor();
      await look(page, "watch-light");
      writeFileSync(join(run, "model.safetensors"), "");
      await state.filter({ hasText: "The training has ended." }).waitFor();
      assert.equal(await page.locator("#progress").isVisible(), false);
    });
  } finally {
    await browser.close();
    await server.close();
  }
});
