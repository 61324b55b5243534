import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, look, skip, visit } from "../report/browser.test.fixture.js";
import { appendRows, makeRun, rowsOf } from "../report/testing.js";
import { serveReport } from "./watch.js";

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-watch-page-"));
});
after(() => rmSync(folder, { recursive: true }));

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
