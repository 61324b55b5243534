import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { after, test } from "node:test";
import { pack } from "tar-stream";
import { clipsmith, makeCollection, tinyModel } from "./testing.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-equal-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A collection of 12 captions whose pictures are the first one, but for those that are kept. */
async function placeholders(name: string, kept: (i: number) => boolean): Promise<string> {
  const collection = join(folder, name);
  await makeCollection(collection, 12);
  const pictures = readdirSync(collection).filter((file) => file.endsWith(".png"));
  for (const [i, picture] of pictures.entries()) {
    if (i > 0 && !kept(i)) copyFileSync(join(collection, pictures[0]!), join(collection, picture));
  }
  return collection;
}

async function asShard(collection: string): Promise<string> {
  const tar = pack();
  for (const name of readdirSync(collection).sort()) {
    tar.entry({ name }, readFileSync(join(collection, name)));
  }
  tar.finalize();
  const path = `${collection}.tar`;
  writeFileSync(path, await buffer(tar));
  return path;
}

function train(collection: string, steps: number) {
  const run = `${collection}.run`;
  return clipsmith("train", collection, "--out", run, "--steps", `${steps}`, ...tinyModel);
}

test("a folder or a shard of one picture under many captions is no collection to train on", async () => {
  const collection = await placeholders("all", () => false);
  for (const source of [collection, await asShard(collection)]) {
    for (const steps of [2, 50]) {
      const { code, stderr } = await train(source, steps);
      assert.equal(code, 1, stderr);
      assert.match(
        stderr,
        /All \d+ pictures read are the same picture, .*: there is nothing to tell/,
      );
      assert.doesNotMatch(stderr, /--resume/);
      assert.ok(!existsSync(join(`${source}.run`, "model.safetensors")));
      rmSync(`${source}.run`, { recursive: true });
    }
  }
});

test("where half of the pictures are one, the run tells how many and goes on", async () => {
  const collection = await placeholders("half", (i) => i >= 6);
  for (const source of [collection, await asShard(collection)]) {
    const { code, stderr } = await train(source, 6);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^Many pictures are equal: 6 of the 12 read are the same picture, /m);
  }
});
