import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ApiInfo, ApiSearch } from "../src/server/index.js";
import { train } from "../src/train/index.js";
import { stopAfter, TextSink, tinyClip } from "../src/train/testing.js";
import { prepareEmoji, readTrainingSamples, readUnseenStyle } from "./emoji.js";
import { followRun } from "./follow.js";
import { LivePage, type Shown } from "./live-page.js";

let root: string;
let emoji: string;
before(async () => {
  root = mkdtempSync(join(tmpdir(), "clipsmith-follow-"));
  emoji = join(root, "emoji");
  await prepareEmoji(emoji, { size: 16, hexcodes: ["1F34E", "1F34C", "1F680", "1F431"] });
});
after(() => rmSync(root, { recursive: true }));

async function trainSteps(run: string, steps: number, resume: boolean): Promise<void> {
  await train({
    out: run,
    samples: await readTrainingSamples(emoji),
    resume,
    model: { clip: tinyClip },
    training: { steps: 100, batchSize: 4, warmupSteps: 1 },
    runtime: { threads: 1 },
    progress: { stream: new TextSink() },
    signal: stopAfter(steps),
  });
}

async function ask<T>(url: string, path: string): Promise<T> {
  return (await (await fetch(`${url}/api/${path}`)).json()) as T;
}

test("the page searches the style never seen by each new checkpoint", async () => {
  const run = join(root, "run");
  const page = await LivePage.of(run, 0);
  const folders: string[] = [];
  const seen: { url: string; info: ApiInfo }[] = [];
  const over = new AbortController();
  const show = async (shown: Shown) => {
    folders.push(shown.folder!);
    const url = await page.show(shown);
    seen.push({ url, info: await ask<ApiInfo>(url, "info") });
    if (seen.length === 1) await trainSteps(run, 3, true);
    else over.abort();
    return url;
  };
  await trainSteps(run, 2, false);
  const unseenStyle = await readUnseenStyle(emoji);
  await followRun({ run, minutes: 2, unseenStyle }, { show }, over.signal);

  const [first, second] = [seen[0]!, seen[1]!];
  assert.deepEqual(
    folders.map((folder) => folder.slice(run.length + 1)),
    [join("live", "2"), join("live", "5")],
  );
  assert.equal(first.info.count, unseenStyle.pictures.length);
  assert.match(
    first.info.note!,
    /^Trained for 0(\.\d)? of 2 minutes: .* R@10 is 100\.0 %\. The model gets better/,
  );
  assert.equal(second.url, first.url);
  assert.ok(second.info.version > first.info.version);
  const { matches } = await ask<ApiSearch>(second.url, "search?text=rocket");
  assert.deepEqual(
    matches.map(({ captions }) => captions[0]).sort(),
    [...unseenStyle.names].sort(),
  );
  // An index goes as soon as nothing is searched in it.
  assert.deepEqual(readdirSync(join(run, "live")), ["5"]);
  await page.close();
  assert.equal(existsSync(join(run, "live")), false);
  await assert.rejects(fetch(first.url));
});

test("a port that is taken is told of before anything is done", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  await assert.rejects(LivePage.of(join(root, "none"), port), {
    name: "ClipsmithError",
    message: new RegExp(`Port ${port} is taken.*--port`),
  });
  other.close();
});
