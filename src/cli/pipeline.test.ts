import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ApiSearch, ApiTraining } from "../server/index.js";
import { addDamaged, clipsmith, makeCollection, start, tinyModel } from "./testing.js";

let folder: string;
let collection: string;
let run: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-cli-"));
  collection = join(folder, "colours");
  run = join(folder, "run");
  await makeCollection(collection, 16);
  addDamaged(collection);
  writeFileSync(join(collection, "lonely.txt"), "a caption without a picture\n");
});
after(() => rmSync(folder, { recursive: true, force: true }));

async function succeed(...args: readonly string[]) {
  const ended = await clipsmith(...args);
  assert.equal(ended.code, 0, ended.stderr);
  return ended;
}

test("train, eval, index, search and serve work one after the other", async (t) => {
  await t.test("train", async () => {
    const { stdout, stderr } = await succeed(
      "train",
      collection,
      ...["--out", run, "--steps", "5", ...tinyModel],
    );
    assert.match(stdout, /^17 pictures with 17 captions\.$/m);
    assert.match(stdout, /^Skipped 1:\n {2}.*lonely\.txt: no picture beside/m);
    assert.match(stdout, /^A model of [\d,]+ parameters, to be written to .*run\.$/m);
    assert.match(stdout, /^5 steps, loss \d\.\d{4}, [\d.e+]+ samples\/s\.$/m);
    // What was told before the first step is not told again.
    assert.equal(stdout.split("lonely.txt").length, 2);
    assert.match(stdout, /^Skipped 1:\n {2}.*damaged\.png: it is not a picture: /m);
    assert.match(stderr, /Skipped .*damaged\.png: it is not a picture: /);
    // The commands to go on with are the ones that the steps below run.
    assert.ok(stdout.includes(`  clipsmith index ${run} ${collection}\n`), stdout);
    assert.ok(stdout.includes(`  clipsmith serve ${run}\n`), stdout);
  });

  await t.test("eval", async () => {
    const { stdout, stderr } = await succeed("eval", run, collection);
    assert.match(stdout, /^text to image +\d/m);
    assert.match(stdout, /16 texts, 16 pictures/);
    assert.match(stderr, /Skipped 2:\n(.*\n)?.*damaged\.png/);
    const json = await succeed("eval", run, collection, "--name", "again", "--json");
    const kept = JSON.parse(readFileSync(join(run, "metrics.json"), "utf8"));
    assert.deepEqual(Object.keys(kept), ["colours", "again"]);
    assert.deepEqual(kept.again, JSON.parse(json.stdout));
    assert.deepEqual(kept.colours, kept.again);
    assert.equal(typeof kept.colours.textToImage.r1, "number");
  });

  await t.test("index", async () => {
    const { stdout, stderr } = await succeed("index", run);
    assert.match(stdout, /^Indexed 16 pictures\./);
    assert.match(stderr, /damaged\.png/);
  });

  await t.test("search", async () => {
    const words = await succeed("search", run, "red", "number", "3", "--limit", "4");
    const lines = words.stdout.trimEnd().split("\n");
    assert.equal(lines.length, 4);
    for (const line of lines) assert.match(line, /^-?\d\.\d{4} {2}\/.*\.png {2}\w+ number \d+$/);
    const picture = join(collection, "004-green.png");
    const json = await succeed("search", run, "--picture", picture, "--json", "--limit", "2");
    const [best, second] = JSON.parse(json.stdout);
    assert.ok(Math.abs(best.score - 1) < 1e-5);
    assert.equal(basename(best.picture).slice(4), "green.png");
    assert.ok(best.score >= second.score);
  });

  await t.test("search whose reader has gone", async () => {
    const { child, ended } = start(["search", run, "red"]);
    child.stdout!.destroy();
    const { code, stderr } = await ended;
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  });

  await t.test("serve", async () => {
    const server = start(["serve", run, "--port", "0"], { cwd: folder });
    const [, url] = await server.output(/at (http:\S+) until/);
    const response = await fetch(`${url}/api/search?text=blue&limit=3`);
    const { matches } = (await response.json()) as ApiSearch;
    assert.equal(matches.length, 3);

    // The command that the page starts a training by is one that the command line knows.
    const posted = await fetch(`${url}/api/train`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ collection, minutes: 0.01 }),
    });
    assert.equal(posted.status, 202);
    let job: ApiTraining;
    do {
      await sleep(50);
      job = (await (await fetch(`${url}/api/train`)).json()) as ApiTraining;
    } while (job.state === "running");
    assert.equal(job.state, "done", job.output.join("\n"));
    for (const line of job.next!) {
      assert.ok(job.output.includes(`  ${line}`), `${line} is not in ${job.output.join("\n")}`);
    }
    assert.ok(readdirSync(job.run!).includes("model.safetensors"));

    server.child.kill("SIGTERM");
    assert.equal((await server.ended).code, 0);
  });
});

test("serve answers for the names that it is told, and says where it is reached", async () => {
  const names = ["--host", "0.0.0.0", "--allow-host", "photos.example.org"];
  const server = start(["serve", run, "--port", "0", ...names], { cwd: folder });
  const [, url] = await server.output(/ at (http:\/\/127\.0\.0\.1:\d+) until/);
  const { port } = new URL(url!);
  assert.equal((await fetch(`http://localhost:${port}/api/info`)).status, 200);
  server.child.kill("SIGTERM");
  const { code, stdout } = await server.ended;
  assert.equal(code, 0);
  for (const line of stdout.trimEnd().split("\n").slice(2)) {
    assert.match(line, new RegExp(`^ {2}http://[\\d.]+:${port}$`));
  }
  for (const wrong of ["http://photos.example.org", "photos.example.org:80", "*.org", "", "a b"]) {
    const { code, stderr } = await clipsmith("serve", run, "--allow-host", wrong);
    assert.equal(code, 1, stderr);
    assert.match(
      stderr,
      /--allow-host.*Give a host name alone, such as photos\.example\.org/s,
      wrong,
    );
  }
});

test("a picture that is gone is not found, which is told", async () => {
  const gone = join(folder, "some");
  await makeCollection(gone, 4);
  await succeed("index", run, gone);
  rmSync(join(gone, "001-green.png"));
  const { stdout, stderr } = await succeed("search", run, "green");
  assert.doesNotMatch(stdout, /001-green/);
  assert.equal(stdout.trimEnd().split("\n").length, 3);
  const told = `1 picture of the index is gone and left out here: clipsmith index ${run} makes it anew.`;
  assert.equal(stderr, `${told}\n`);
  const json = await succeed("search", run, "green", "--json", "--limit", "3");
  assert.equal(JSON.parse(json.stdout).length, 3);
});

test("pictures without captions can be indexed and found", async () => {
  const plain = join(folder, "plain");
  await makeCollection(plain, 3);
  for (const file of readdirSync(plain)) if (file.endsWith(".txt")) rmSync(join(plain, file));
  const { stdout } = await succeed("index", run, plain);
  assert.match(stdout, /^Indexed 3 pictures\./);
  const json = await succeed("search", run, "green", "--json");
  const found = JSON.parse(json.stdout) as { picture: string; captions: string[] }[];
  assert.deepEqual(found.map(({ picture }) => basename(picture)).sort(), [
    "000-red.png",
    "001-green.png",
    "002-blue.png",
  ]);
  assert.ok(found.every(({ captions }) => captions.length === 0));
  // What was indexed last is indexed again.
  assert.match((await succeed("index", run)).stdout, /^Indexed 3 pictures\./);
});
