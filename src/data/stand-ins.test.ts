import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadTokenizer } from "./load-tokenizer.js";
import { openSource } from "./open-source.js";
import { decodePicture } from "./picture.js";
import { entriesOf } from "./testing.js";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-stand-ins-"));
});
after(() => rm(root, { recursive: true, force: true }));

const LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
const PAGE = "<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>\n";

async function write(name: string, text: string): Promise<string> {
  const path = join(root, name);
  await writeFile(path, text);
  return path;
}

for (const [text, message] of [
  [LFS, /it is a Git LFS pointer in place of the file: `git lfs pull` fetches it/],
  [PAGE, /it is a web page in place of the file: download/],
] as const) {
  test(`files that are not what they are called say so: ${text.slice(0, 15)}`, async () => {
    for (const name of ["a.tar", "a.tar.gz", "a.parquet"]) {
      const source = await openSource(await write(name, text));
      const [entry] = await entriesOf(source.shards[0]!);
      assert.ok(entry && "reason" in entry && entry.rest, name);
      assert.match(entry.reason, message, name);
    }
    for (const name of ["a.jpg", "a.png", "a.svg", "a.webp"]) {
      const picture = await write(name, text);
      await assert.rejects(decodePicture(picture, { size: 8, channels: 3 }), message, name);
    }
    for (const name of ["list.csv", "list.tsv", "list.jsonl"]) {
      const list = await write(name, text);
      await assert.rejects(openSource(list), new RegExp(message.source.slice("it ".length)), name);
    }
    await assert.rejects(loadTokenizer(await write("tokenizer.json", text)), message);
  });
}
