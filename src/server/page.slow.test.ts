import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { launch, look, skip, visit as visitPage } from "../report/browser.test.fixture.js";
import { buildIndex, type PictureIndex } from "../search/index.js";
import { colourEmbedder, drawColours, shapePicture } from "./colours.test.fixture.js";
import { type SearchServer, serve } from "./serve.js";

const HOSTILE = `<img src=x onerror="document.title='broken into'"> & <b>bold</b>`;

/** Stands in for a training: learns until its collection holds a file named "enough" or "full". */
const trainer = `
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
const [collection, run] = process.argv.slice(2);
mkdirSync(run, { recursive: true });
console.log("reading", collection);
let step = 0;
setInterval(() => {
  appendFileSync(run + "/metrics.jsonl", JSON.stringify({ step, loss: 3 / ++step }) + "\\n");
  if (existsSync(collection + "/full")) throw new Error("The disk is full.");
  if (!existsSync(collection + "/enough")) return;
  writeFileSync(run + "/metrics.json", '{"recallAt1":0.25}');
  process.exit();
}, 50);
`;

let folder: string;
let index: PictureIndex;
let server: SearchServer;
let browser: Browser;

before(async () => {
  if (skip) return;
  folder = await mkdtemp(join(tmpdir(), "clipsmith-page-"));
  const samples = await drawColours(join(folder, "pictures"));
  samples[0] = { picture: samples[0]!.picture, captions: [HOSTILE] };
  ({ index } = await buildIndex(join(folder, "index"), colourEmbedder, samples));

  const run = join(folder, "shapes");
  await mkdir(run);
  const lines = Array.from({ length: 300 }, (_, step) => {
    const loss = 3.2 * Math.exp(-step / 90) + 0.35 + 0.12 * Math.sin(step * 1.7);
    return JSON.stringify(
      step % 50 === 49 ? { step, loss, validationLoss: loss + 0.3 } : { step, loss },
    );
  });
  await writeFile(join(run, "metrics.jsonl"), lines.join("\n"));
  const recalls = { recallAt1: 0.421, recallAt5: 0.713, recallAt10: 0.825 };
  const final = { textToPicture: recalls, pictureToText: recalls, samplesPerSecond: 61.3 };
  await writeFile(join(run, "metrics.json"), JSON.stringify(final));

  const script = join(folder, "train.mjs");
  await writeFile(script, trainer);
  const runs = join(folder, "runs");
  server = await serve({
    embedder: colourEmbedder,
    index,
    run,
    runs,
    trainingCommand: ({ collection, run }) => [script, collection, run],
    port: 0,
  });
  browser = await launch();
});
after(async () => {
  if (skip) return;
  await browser.close();
  await server.close();
  index.close();
  await rm(folder, { recursive: true, force: true });
});

/** Opens the page, and fails the test when the page writes an error to its console. */
function visit(
  work: (page: Page) => Promise<void>,
  options: Parameters<typeof visitPage>[3] = {},
): Promise<void> {
  const start = async (page: Page) => {
    await page.locator(".tile").first().waitFor();
    await work(page);
  };
  return visitPage(browser, server.url, start, options);
}

/** The captions shown, once there are as many tiles as wanted. */
async function captions(page: Page, first: string): Promise<string[]> {
  await page.locator(".tile .caption").first().filter({ hasText: first }).waitFor();
  return page.locator(".tile .caption").allTextContents();
}

function picture(colour: string): Promise<Buffer> {
  return sharp(shapePicture(colour, "circle")).png().toBuffer();
}

/** A script for the page that drops or pastes a file, as a person would. */
function handOver(kind: "drop" | "paste", bytes: Buffer, type: string): string {
  const event =
    kind === "paste"
      ? "new ClipboardEvent(kind, { bubbles: true, clipboardData: data })"
      : "new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data })";
  return `{
    const bytes = Uint8Array.from(atob("${bytes.toString("base64")}"), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "given.png", { type: "${type}" }));
    for (const kind of ${kind === "paste" ? '["paste"]' : '["dragover", "drop"]'}) {
      document.dispatchEvent(${event});
    }
  }`;
}

test("words find pictures while they are typed, and a tile finds its like", { skip }, () =>
  visit(async (page) => {
    assert.equal(await page.title(), "shapes");
    assert.equal(await page.locator("#count").textContent(), "30 pictures");
    await look(page, "start-light");
    await page.getByRole("searchbox", { name: /describe/i }).pressSequentially("green");
    const found = await captions(page, "green");
    assert.equal(found.length, 24);
    assert.ok(found.slice(0, 3).every((caption) => caption.includes("green")));
    assert.ok(!found[3]!.includes("green"));
    assert.match((await page.locator("#status").textContent())!, /^24 pictures/);
    assert.match(page.url(), /\?text=green$/);
    await look(page, "words-light");

    await page.getByRole("button", { name: "Show more" }).click();
    await page.locator(".tile").nth(29).waitFor();
    assert.equal(await page.getByRole("button", { name: "Show more" }).isVisible(), false);

    await page.locator(".tile", { hasText: "a blue circle" }).press("Enter");
    const like = await captions(page, "a blue circle");
    assert.ok(like.slice(0, 3).every((caption) => caption.includes("blue")));
    assert.equal(await page.locator("#query-picture").isVisible(), true);
    assert.equal(await page.locator(".tile .score").first().textContent(), "1.000");

    await page.goBack();
    await captions(page, "green");
    assert.equal(await page.getByRole("searchbox").inputValue(), "green");
    await page.getByRole("button", { name: "a orange square", exact: true }).click();
    await captions(page, "orange");
  }),
);

test("a picture finds pictures: picked, dropped or pasted", { skip }, () =>
  visit(async (page) => {
    const chooser = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Picture", exact: true }).click();
    const file = { name: "mine.png", mimeType: "image/png", buffer: await picture("purple") };
    await (await chooser).setFiles(file);
    await captions(page, "purple");
    assert.equal(await page.locator("#query-name").textContent(), "mine.png");

    // Neither another tab nor the back button loses a picture that only the browser holds.
    await page.getByRole("tab", { name: "Training" }).click();
    await page.getByRole("tab", { name: "Search" }).click();
    await captions(page, "purple");
    await page.locator(".chip", { hasText: "a orange square" }).click();
    await captions(page, "orange");
    await page.goBack();
    await captions(page, "purple");
    assert.equal(await page.locator("#query-name").textContent(), "mine.png");

    const hand = (kind: "drop" | "paste", bytes: Buffer, type: string) =>
      page.evaluate(handOver(kind, bytes, type));
    await hand("drop", await picture("teal"), "image/png");
    await captions(page, "teal");
    assert.equal(await page.locator("body.dropping").count(), 0);
    await page.getByRole("tab", { name: "Training" }).click();
    await hand("paste", await picture("pink"), "image/png");
    await captions(page, "pink");
    await look(page, "picture-light");
    await hand("drop", Buffer.from("words"), "text/plain");
    await page.locator("#status.error", { hasText: "not a picture" }).waitFor();
    await page.getByRole("button", { name: "Search without this picture" }).click();
    await page.locator("#status", { hasText: "Some of the pictures" }).waitFor();
  }),
);

test("a newer index is searched in place, whatever is being typed", { skip }, () =>
  visit(async (page) => {
    await page.getByRole("searchbox").fill("green");
    await captions(page, "green");
    const tile = page.locator(".tile").first();
    await tile.focus();
    const focused = await tile.getAttribute("aria-label");

    const samples = [...(await drawColours(join(folder, "pictures")))].map((sample) => ({
      ...sample,
      captions: sample.captions.map((caption) => `${caption}, better`),
    }));
    const newer = await buildIndex(join(folder, "newer"), colourEmbedder, samples);
    await server.replace({ embedder: colourEmbedder, index: newer.index, note: "Half-trained." });
    await captions(page, "better");
    await page.locator("#note", { hasText: "Half-trained." }).waitFor();
    await page.locator(".chip", { hasText: "a red square, better" }).waitFor();
    const at = await page.evaluate<string>("document.activeElement.ariaLabel");
    assert.equal(at.slice(0, 7), focused!.slice(0, 7));
    await look(page, "half-trained-light");

    // Words that have not been searched for yet stay as they are.
    await page.evaluate(`document.getElementById("text").value = "green and bl"`);
    await server.replace({ embedder: colourEmbedder, index });
    newer.index.close();
    await page.locator(".tile .caption", { hasText: /^a green circle$/ }).waitFor();
    assert.equal(await page.getByRole("searchbox").inputValue(), "green and bl");
    assert.equal(await page.locator("#note").isVisible(), false);
  }),
);

test("captions are shown as they are, never read as HTML", { skip }, () =>
  visit(async (page) => {
    await page.getByRole("searchbox").fill("red");
    await page.locator(".tile .caption", { hasText: HOSTILE }).waitFor();
    assert.equal(await page.locator(".caption b, .caption img").count(), 0);
    assert.equal(await page.title(), "shapes");
  }),
);

test("the training tab shows the run, and trains another model", { skip }, () =>
  visit(async (page) => {
    await page.getByRole("tab", { name: "Search" }).press("ArrowRight");
    await page.locator("#model-chart canvas").waitFor();
    assert.match((await page.locator("#model-chart").getAttribute("aria-label"))!, /at step 299/);
    assert.match((await page.locator("#model-chart .u-legend").textContent())!, /Validation loss/);
    const row = page.getByRole("row", { name: /text to picture/i });
    assert.match((await row.textContent())!, /42\.1 %71\.3 %82\.5 %/);
    await look(page, "training-light");
    assert.match(page.url(), /#training$/);
    await page.reload();
    await page.locator("#model-chart canvas").waitFor();

    const collection = join(folder, "birds");
    await mkdir(collection);
    await page.getByLabel("Folder of pictures").fill(collection);
    await page.getByLabel("Minutes").fill("1");
    const start = page.getByRole("button", { name: "Start training" });
    const state = page.locator("#job-state");
    await start.click();
    await state.filter({ hasText: `Training on ${collection}` }).waitFor();
    await page.locator("#job-clock", { hasText: / of 1:00 minutes, loss/ }).waitFor();
    await page.locator("#job-chart canvas").waitFor();
    assert.equal(await start.isDisabled(), true);
    await page.locator("#job").scrollIntoViewIfNeeded();
    await look(page, "running-light");
    await page.getByRole("button", { name: "Stop" }).click();
    await state.filter({ hasText: "stopped" }).waitFor();

    await writeFile(join(collection, "enough"), "");
    await start.click();
    await state.filter({ hasText: "Trained on" }).waitFor();
    const commands = await page.locator("#job-commands").textContent();
    assert.match(commands!, /^clipsmith index .*birds-/);
    assert.match((await page.locator("#job-figures").textContent())!, /Recall at 1.*25\.0 %/);
    await look(page, "done-light");

    await writeFile(join(collection, "full"), "");
    await start.click();
    await state.filter({ hasText: "failed" }).waitFor();
    await page.locator("#job-output", { hasText: "The disk is full." }).waitFor();
  }),
);

test("the page fits a phone and follows a dark scheme", { skip }, () =>
  visit(
    async (page) => {
      const ground = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
      const [red] = ground.match(/\d+/g)!.map(Number);
      assert.ok(red! < 60, `background ${ground} in the dark`);
      await page.getByRole("searchbox").fill("yellow");
      await captions(page, "yellow");
      await look(page, "phone-dark");
      const overflow = () =>
        page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
      assert.ok((await overflow()) <= 0, "the page is wider than the phone");
      await page.getByRole("tab", { name: "Training" }).click();
      await page.locator("#model-chart canvas").waitFor();
      await look(page, "phone-training-dark");
      assert.ok((await overflow()) <= 0, "the training tab is wider than the phone");
    },
    { viewport: { width: 390, height: 844 }, colorScheme: "dark" },
  ),
);
