import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { openSource } from "../data/index.js";
import { colourEmbedder, drawColours } from "../server/colours.test.fixture.js";
import { launch, look, skip, visit } from "./browser.test.fixture.js";
import type { ReportData } from "./data.js";
import { reportPage } from "./page.js";
import { findRetrievals } from "./retrievals.js";
import { FollowedRun } from "./run-report.js";
import { makeRun } from "./testing.js";

const HOSTILE = `<img src=x onerror="document.title='broken into'"> & <b>bold</b>`;

let folder: string;
let browser: Browser;
let url: string;

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "clipsmith-report-page-"));
  const run = join(folder, "shapes");
  makeRun(run, 400);
  const samples = await drawColours(join(folder, "pictures"));
  for (const { picture, captions } of samples) {
    const [first] = captions;
    writeFileSync(picture.replace(/png$/, "txt"), first === "a red circle" ? HOSTILE : first!);
  }
  const recalls = { r1: 0.421, r5: 0.713, r10: 0.825 };
  writeFileSync(join(run, "metrics.json"), JSON.stringify({ birds: { textToImage: recalls } }));
  const skipped = { where: "/pictures/a.png", reason: "too small: 3 x 3", cause: "too small" };
  writeFileSync(join(run, "skipped.jsonl"), `${JSON.stringify(skipped)}\n`);
  writeFileSync(join(run, "model.safetensors"), "");
  const source = await openSource(join(folder, "pictures"));
  const retrievals = await findRetrievals(colourEmbedder, source, { use: "learnt" });
  const report: ReportData = { ...(await new FollowedRun(run).report()), retrievals: retrievals! };
  const file = join(folder, "report.html");
  writeFileSync(file, reportPage(report));
  url = pathToFileURL(file).href;
  browser = await launch();
});
after(async () => {
  if (skip) return;
  await browser.close();
  rmSync(folder, { recursive: true });
});

test("a report shows curves, figures and findings without a network", { skip }, () =>
  visit(
    browser,
    url,
    async (page) => {
      assert.equal(await page.title(), "shapes");
      assert.equal(await page.locator("h2#state").textContent(), "The training has ended.");
      const facts = (await page.locator("#facts").textContent())!;
      assert.match(facts, /Step400 of 400/);
      assert.match(facts, /Text to image R@1077\.8 %, best 77\.8 %/);
      // Of all steps: the last one alone makes 849.
      assert.match(facts, /Samples a second79\d\.?\d* on average/);
      assert.match(facts, /Waiting for data10 ms a step/);
      assert.match(facts, /Memory1\.30 GB/);

      const chart = (name: string) => page.getByRole("region", { name, exact: true });
      const told = (name: string) => chart(name).getByRole("img").getAttribute("aria-label");
      assert.match((await told("Loss"))!, /^Loss: .* at step 1, .* at step 400$/);
      assert.match(
        (await told("Recall on validation pictures"))!,
        /^Text to image R@1: 0\.0885 at step 50, 0\.346 at step 400$/,
      );
      assert.match((await told("Learning rate"))!, /0\.000500 at step 400/);
      assert.equal(await page.locator("canvas").count(), 8);
      // The means have no legend of their own.
      const legend = (await chart("Loss").locator(".u-legend").innerText()).replace(/\s/g, "");
      assert.equal(legend, "Step--Loss–Contrastive–Textssl–Validationloss–");

      const row = page.getByRole("row", { name: /birds, text to image/i });
      assert.match((await row.textContent())!, /42\.1 %71\.3 %82\.5 %/);
      assert.equal(await page.locator("#by-text .finding").count(), 6);
      assert.equal(await page.locator("#by-text .right img").count(), 6);
      assert.equal(await page.locator("#by-picture .right").count(), 6);
      const sizes = "[...document.querySelectorAll('.finding img')].map((i) => i.naturalWidth)";
      assert.deepEqual([...new Set(await page.evaluate<number[]>(sizes))], [176]);
      assert.match(
        (await page.locator("#findings-note").textContent())!,
        /which it was trained on/,
      );
      assert.equal(await page.locator("#findings-card b:not(.unseen)").count(), 0);

      assert.equal(await page.locator("#skipped-heading").textContent(), "Skipped: 1");
      await page.getByText("Examples").click();
      await page.getByText("/pictures/a.png: too small: 3 x 3").waitFor();
      await page.getByText("Training", { exact: true }).click();
      await page.getByRole("row", { name: "betas [0.9,0.98]" }).waitFor();
      await look(page, "report-light");
    },
    { offline: true },
  ),
);

test("a report fits a phone and follows a dark scheme", { skip }, () =>
  visit(
    browser,
    url,
    async (page) => {
      await page.locator("canvas").first().waitFor();
      const ground = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
      const [red] = ground.match(/\d+/g)!.map(Number);
      assert.ok(red! < 60, `background ${ground} in the dark`);
      const overflow = "document.documentElement.scrollWidth - innerWidth";
      assert.ok((await page.evaluate<number>(overflow)) <= 0, "wider than the phone");
      await look(page, "report-phone-dark");
    },
    { viewport: { width: 390, height: 844 }, colorScheme: "dark" },
  ),
);
