/** Chromium for the tests of pages. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Why there is no browser; false if there is one. */
export const skip = existsSync(executablePath)
  ? false
  : `no browser at ${executablePath}: install Chromium, or name one in CHROMIUM`;

/** Where to keep pictures of pages, to look at; by default they aren't taken. */
const screenshots = process.env.CLIPSMITH_SCREENSHOTS;

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    timeout: 10 * 60_000,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** Opens a page, and fails the test when the page writes an error to its console. */
export async function visit(
  browser: Browser,
  url: string,
  work: (page: Page) => Promise<void>,
  options: Parameters<Browser["newContext"]>[0] = {},
): Promise<void> {
  const context = await browser.newContext({ viewport: { width: 1180, height: 860 }, ...options });
  const page = await context.newPage();
  // Longer is a hang, on any machine.
  page.setDefaultTimeout(10 * 60_000);
  const problems: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(url);
  await work(page);
  assert.deepEqual(problems, []);
  await context.close();
}

export async function look(page: Page, name: string): Promise<void> {
  if (screenshots === undefined) return;
  await page.waitForLoadState("networkidle");
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
}
