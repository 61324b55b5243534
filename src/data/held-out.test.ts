import assert from "node:assert/strict";
import { test } from "node:test";
import { isHeldOut, takePart } from "./held-out.js";
import type { Sample, Skipped } from "./sample.js";
import type { SampleSource, SourceSample } from "./source.js";

const names = Array.from({ length: 4000 }, (_, i) => `/data/photos/${i % 40}/${i}.jpg`);
const sampleOf = (name: string): Sample => ({ picture: name, captions: [name] });

/** A source whose fifth entry of each shard cannot be read. */
function shards(...all: readonly (readonly string[])[]): SampleSource {
  return {
    name: "shards",
    shards: all.map((entries, i) => ({
      name: `${i}.tar`,
      async *read(start = 0) {
        for (const [at, name] of [...entries.entries()].slice(start)) {
          if (at === 4) yield { where: name, reason: "broken" };
          else yield { name, picture: new Uint8Array(1), captions: [name] };
        }
      },
    })),
  };
}

async function namesOf(source: SampleSource, start?: number): Promise<string[]> {
  const found: string[] = [];
  for (const shard of source.shards) {
    for await (const entry of shard.read(start)) {
      found.push("name" in entry ? (entry as SourceSample).name : `!${(entry as Skipped).where}`);
    }
  }
  return found;
}

test("the part that is held out is about as large as asked for, and larger parts hold smaller ones", () => {
  for (const part of [0.01, 0.05, 0.3]) {
    const count = names.filter((name) => isHeldOut(name, part)).length;
    const deviation = Math.sqrt(4000 * part * (1 - part));
    assert.ok(Math.abs(count - 4000 * part) < 4 * deviation, `${part}: ${count}`);
  }
  assert.ok(names.every((name) => !isHeldOut(name, 0.05) || isHeldOut(name, 0.3)));
});

test("a sample stays on its side wherever the collection is", () => {
  for (const name of names) {
    const moved = name.replace("/data/photos", "D:\\more\\pictures").replaceAll("/", "\\");
    assert.equal(isHeldOut(moved, 0.3), isHeldOut(name, 0.3));
  }
});

test("both parts together are the source, in its order", async () => {
  const source = shards(names.slice(0, 200), names.slice(200, 300));
  const [held, learnt] = [takePart(source, 0.3, true), takePart(source, 0.3, false)];
  const all = await namesOf(source);
  const [heldNames, learntNames] = [await namesOf(held), await namesOf(learnt)];
  assert.deepEqual(
    heldNames,
    all.filter((name) => heldNames.includes(name)),
  );
  assert.deepEqual(
    learntNames,
    all.filter((name) => !heldNames.includes(name)),
  );
  assert.ok(heldNames.length > 50 && learntNames.length > 150);
  // What cannot be read is told once.
  assert.equal(learntNames.filter((name) => name.startsWith("!")).length, 2);
  assert.ok(!heldNames.some((name) => name.startsWith("!")));
  const samples = names.slice(0, 300).map(sampleOf);
  const inMemory = takePart(samples, 0.3, false).map(({ picture }) => picture);
  assert.deepEqual(
    inMemory,
    names.slice(0, 300).filter((name) => !isHeldOut(name, 0.3)),
  );
});

test("a filtered shard can be read from any entry on", async () => {
  const learnt = takePart(shards(names.slice(0, 50)), 0.3, false);
  const all = await namesOf(learnt);
  for (const start of [0, 1, 7, all.length]) {
    assert.deepEqual(await namesOf(learnt, start), all.slice(start));
  }
});
