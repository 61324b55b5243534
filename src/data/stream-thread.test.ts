import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isHeldOut, takePart } from "./held-out.js";
import { openSource } from "./open-source.js";
import { openStream, type StreamOptions } from "./open-stream.js";
import type { SampleStream, Streamed } from "./stream.js";
import type { StreamPosition } from "./stream-position.js";
import { openStreamAhead } from "./stream-thread.js";
import { tarOf } from "./testing.js";

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-stream-thread-"));
  for (const s of range(3)) {
    const files = range(7).flatMap((i) => [
      [`${s}-${i}.png`, `picture ${s} ${i} `.repeat(20)] as const,
      ...(i === 3 ? [] : [[`${s}-${i}.txt`, `caption ${i}`] as const]),
    ]);
    await writeFile(join(root, `${s}.tar`), await tarOf(files));
  }
});
after(() => rm(root, { recursive: true }));

const memory = range(4).map((i) => ({ picture: `/m${i}.png`, captions: ["m"] }));
const options = async (): Promise<StreamOptions> => ({
  sources: [await openSource(root), memory],
  weights: [3, 1],
  seed: 2,
  shuffleBuffer: 6,
});

/** With bytes as plain arrays of bytes, whatever class they are of. */
const plain = (entry: Streamed) =>
  "reason" in entry || typeof entry.picture === "string"
    ? entry
    : { ...entry, picture: new Uint8Array(entry.picture) };

async function take(stream: SampleStream, count: number) {
  const taken: { entry: Streamed; position: StreamPosition }[] = [];
  for (const _ of range(count)) {
    const entry = plain(await stream.next());
    taken.push({ entry, position: stream.position });
  }
  await stream.close();
  return taken;
}

test("a thread gives the same entries and positions, wherever it begins", async () => {
  const here = await take(openStream(await options()), 70);
  assert.ok(here.some(({ entry }) => "reason" in entry));
  assert.ok(here.some(({ entry }) => "picture" in entry && typeof entry.picture !== "string"));
  for (const ahead of [1, 8, 1000]) {
    const there = openStreamAhead(await options(), ahead);
    assert.deepEqual(there.position, openStream(await options()).position);
    assert.deepEqual(await take(there, 70), here);
  }
  for (const at of [0, 11, 33]) {
    const { position } = here[at]!;
    const there = openStreamAhead({ ...(await options()), position }, 8);
    assert.deepEqual(there.position, position);
    assert.deepEqual(await take(there, 20), here.slice(at + 1, at + 21));
  }
});

test("what stops a stream stops it from a thread, too, in its turn", async () => {
  const path = join(root, "none.tar");
  await writeFile(path, await tarOf([["a.png", "no caption"]]));
  const stream = openStreamAhead({ sources: [await openSource(path)], seed: 1 }, 8);
  await assert.rejects(take(stream, 9), {
    name: "ClipsmithError",
    message: /none\.tar gave no sample in a whole pass over its shard\.\n.*: no caption/,
  });
  await assert.rejects(stream.next(), { name: "ClipsmithError" });
  await stream.close();
  await rm(path);
});

test("a stream that is closed gives no more", async () => {
  const stream = openStreamAhead(await options(), 8);
  await stream.next();
  await stream.close();
  await assert.rejects(async () => {
    for (const _ of range(100)) await stream.next();
  }, /after close/);
});

test("what is held out of a source is left out in the thread, too", async () => {
  const part = 0.4;
  const learnt = async (): Promise<StreamOptions> => {
    const { sources, ...others } = await options();
    return { ...others, sources: sources.map((source) => takePart(source, part, false)) };
  };
  const here = await take(openStream(await learnt()), 40);
  assert.deepEqual(await take(openStreamAhead(await learnt(), 8), 40), here);
  const names = (entries: typeof here) =>
    new Set(entries.flatMap(({ entry }) => ("reason" in entry ? [] : [entry.name])));
  const all = names(await take(openStream(await options()), 60));
  const left = [...all].filter((name) => !isHeldOut(name, part));
  assert.ok(left.length < all.size);
  for (const name of names(here)) assert.ok(left.includes(name), name);
});
