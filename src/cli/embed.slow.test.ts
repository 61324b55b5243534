import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openEmbeddings } from "../embed/index.js";
import { writeTars } from "../embed/testing.js";
import { Model } from "../model/index.js";
import type { ApiSearch } from "../server/index.js";
import { random } from "../util/random.js";
import { clipsmith, makeCollection, type Running, start, tinyModel } from "./testing.js";

/** All but numbers 7, 70 and 99 can be decoded. */
const PICTURES = 117;

let folder: string;
let run: string;
let tars: string;
let photos: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-embed-cli-"));
  run = join(folder, "run");
  photos = join(folder, "photos");
  await makeCollection(photos, 9);
  tars = await writeTars(join(folder, "tars"), [50, 50, 20], [7, 70, 99]);
  const { code, stderr } = await clipsmith(
    "train",
    photos,
    "--out",
    run,
    "--steps",
    "2",
    ...tinyModel,
  );
  assert.equal(code, 0, stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Small shards, so that there are many moments to be killed at. */
const settings = "--shard-size 4 --batch-size 4 --workers 1 --threads 1".split(" ");
const embedArgs = (out: string, ...more: string[]) => [
  ...["embed", run, tars, "--out", out],
  ...settings,
  ...more,
];

async function succeed(...args: readonly string[]) {
  const ended = await clipsmith(...args);
  assert.equal(ended.code, 0, ended.stderr);
  return ended;
}

/** Names and embeddings, as they come. */
async function contentOf(out: string): Promise<Map<string, Float32Array>> {
  const model = await Model.load(run, { threads: 1 });
  const rows = new Map<string, Float32Array>();
  for await (const { samples, embeddings } of (await openEmbeddings(out, model)).read()) {
    for (const [i, { name }] of samples.entries()) {
      assert.ok(!rows.has(name), `${name} is there twice`);
      rows.set(name, embeddings.slice(i * model.width, (i + 1) * model.width));
    }
  }
  await model.release();
  return rows;
}

/** Waits until there are more than so many files of shards, or the process has ended. */
async function untilFiles({ child }: Running, out: string, files: number): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    try {
      if (readdirSync(out).length > files) return;
    } catch {
      // It is not there yet.
    }
    await sleep(1);
  }
}

test("killed again and again, embeddings end as if nothing had happened", async () => {
  const whole = join(folder, "whole");
  assert.match((await succeed(...embedArgs(whole))).stdout, /^Embedded 117 pictures into/m);
  const expected = await contentOf(whole);
  assert.equal(expected.size, PICTURES);

  const out = join(folder, "killed");
  const stream = random("kills");
  let kills = 0;
  let files = 0;
  for (let i = 0; i < 4; i++) {
    const running = start(embedArgs(out));
    await untilFiles(running, out, files + stream.integer(16));
    await sleep(stream.integer(4));
    running.child.kill("SIGKILL");
    if ((await running.ended).signal === "SIGKILL") kills++;
    files = readdirSync(out).length;
  }
  assert.ok(kills >= 2, `only ${kills} kills came before the end`);
  await succeed(...embedArgs(out));
  const content = await contentOf(out);
  assert.deepEqual([...content.keys()], [...expected.keys()]);
  for (const [name, row] of content) {
    // Other neighbours in a batch may change the last bits.
    const far = Math.max(...row.map((x, i) => Math.abs(x - expected.get(name)![i]!)));
    assert.ok(far < 1e-5, `${name} differs by ${far}`);
  }
  assert.deepEqual(readdirSync(out).sort(), readdirSync(whole).sort());
});

test("a part that another process embeds is refused, and a killed one's is taken over", async () => {
  const out = join(folder, "twice");
  const first = start(embedArgs(out, "--shard", "1/2"));
  const lock = join(out, "00001.lock");
  // One that stays empty is taken for a dead process's.
  while (!existsSync(lock) || statSync(lock).size === 0) await sleep(1);
  first.child.kill("SIGSTOP");
  const { code, stderr } = await clipsmith(...embedArgs(out, "--shard", "1/2"));
  assert.equal(code, 1);
  const { pid } = first.child;
  assert.match(
    stderr,
    new RegExp(
      `Part 1 of 2 of .*twice is being embedded by the process ${pid}, .* stop it: kill ${pid}`,
    ),
  );
  await succeed(...embedArgs(out, "--shard", "0/2"));
  first.child.kill("SIGKILL");
  assert.equal((await first.ended).signal, "SIGKILL");
  await succeed(...embedArgs(out, "--shard", "1/2"));
  assert.equal((await contentOf(out)).size, PICTURES);
  assert.ok(!existsSync(lock));
});

test("a signal ends it after a batch, with the command that goes on", async () => {
  const out = join(folder, "stopped");
  const running = start(embedArgs(out));
  await untilFiles(running, out, 4);
  running.child.kill("SIGTERM");
  const { code, stdout, stderr } = await running.ended;
  assert.equal(code, 0, stderr);
  const [, pictures, command] =
    /^Stopped after (\d+) pictures\. Go on with:\n {2}clipsmith (.*)$/m.exec(stdout)!;
  assert.ok(Number(pictures) < PICTURES);
  const early = await clipsmith("index", run, out);
  assert.match(early.stderr, /is not complete\. Part 0 is missing/);
  const resumed = await succeed(...command!.split(" "));
  assert.match(resumed.stdout, new RegExp(`^Going on after ${pictures} pictures\\.$`, "m"));
  assert.match(resumed.stdout, /^Embedded 117 pictures/m);
  assert.equal((await contentOf(out)).size, PICTURES);
});

test("parts by --shard and by a launcher's environment make a whole, which is searched and shown", async () => {
  const out = join(folder, "parts");
  const environments = [
    { args: ["--shard", "0/3"], env: {} },
    { args: [], env: { OMPI_COMM_WORLD_RANK: "1", OMPI_COMM_WORLD_SIZE: "3" } },
    { args: [], env: { SLURM_PROCID: "2", SLURM_STEP_NUM_TASKS: "3" } },
  ];
  const ended = await Promise.all(
    environments.map(({ args, env }) => {
      const command = ["embed", run, tars, photos, "--out", out, "--threads", "1", ...args];
      return start(command, { env: { ...process.env, ...env } }).ended;
    }),
  );
  for (const [i, { code, stdout, stderr }] of ended.entries()) {
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`^Part ${i} of 3, counted from 0\\.$`, "m"));
    assert.match(stdout, /^When all parts are there, make them searchable:\n {2}clipsmith index /m);
  }
  assert.equal((await contentOf(out)).size, PICTURES + 9);
  const index = await succeed("index", run, out);
  assert.match(index.stdout, /^Indexed 126 pictures\./);
  const found = await succeed("search", run, "number", "33", "--limit", "126");
  assert.match(found.stdout, /2\.tar\/0118 {2}number 118$/m);

  const server = start(["serve", run, "--port", "0"]);
  const [, url] = await server.output(/at (http:\S+) until/);
  const response = await fetch(`${url}/api/search?text=number&limit=200`);
  const { matches } = (await response.json()) as ApiSearch;
  const typeOf = async (name: string) => {
    const { id } = matches.find((match) => match.name === name)!;
    const { status, headers } = await fetch(`${url}/api/pictures/${id}`);
    return [status, headers.get("content-type")];
  };
  assert.deepEqual(await typeOf("0118"), [200, "image/webp"]);
  assert.deepEqual(await typeOf("004-green.png"), [200, "image/png"]);
  server.child.kill("SIGTERM");
  assert.equal((await server.ended).code, 0);
});

test("any source is indexed without embedding it before", async () => {
  const { stdout, stderr } = await succeed("index", run, join(tars, "{1,2}.tar"), photos);
  assert.match(stdout, /^Indexed 77 pictures\./);
  assert.match(stderr, /^Skipped 2:\n.*0070: it is not a picture/m);
});

test("parts that are none are refused", async () => {
  for (const [shard, message] of [
    ["3/3", /Parts count from 0: 0\/3 to 2\/3/],
    ["1of3", /form i\/n/],
    ["0/0", /at least one part/],
  ] as const) {
    const { code, stderr } = await clipsmith("embed", run, tars, "--out", folder, "--shard", shard);
    assert.equal(code, 1);
    assert.match(stderr, message);
  }
});
