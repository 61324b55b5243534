import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { extract } from "tar-stream";
import { decodePicture } from "../../src/data/index.js";
import { captionOf, type Scene } from "./scene.js";
import { writeShapes } from "./shards.js";

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "clipsmith-shapes-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

async function readTar(path: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for await (const entry of createReadStream(path).pipe(extract())) {
    files.set(entry.header.name, await buffer(entry));
  }
  return files;
}

test("shards hold pictures, captions and attributes by key", async (t) => {
  const folder = await temporaryFolder(t);
  const seen: [number, number][] = [];
  const onProgress = (...report: [number, number]) => seen.push(report);
  await writeShapes(folder, { count: 5, size: 32, perShard: 2, onProgress });
  assert.deepEqual((await readdir(folder)).sort(), [
    "shapes-000000.tar",
    "shapes-000001.tar",
    "shapes-000002.tar",
    "shapes.json",
  ]);
  assert.deepEqual(seen, [
    [2, 5],
    [4, 5],
    [5, 5],
  ]);
  const files = await readTar(join(folder, "shapes-000001.tar"));
  assert.deepEqual(
    [...files.keys()],
    ["000000002", "000000003"].flatMap((key) => [`${key}.jpg`, `${key}.txt`, `${key}.json`]),
  );
  const scene = JSON.parse(files.get("000000003.json")!.toString()) as Scene;
  assert.equal(files.get("000000003.txt")!.toString(), captionOf(scene));
  const jpeg = files.get("000000003.jpg")!;
  assert.deepEqual([...jpeg.subarray(0, 3)], [0xff, 0xd8, 0xff]);
  const pixels = await decodePicture(jpeg, { size: 32, channels: 3 });
  assert.ok(new Set(pixels).size > 20, "the picture is nearly uniform");
});

test("equal seeds give equal shards, however pictures are spread over them; other seeds others", async (t) => {
  const folder = await temporaryFolder(t);
  const make = async (name: string, options: { perShard?: number; seed?: number }) => {
    await writeShapes(join(folder, name), { count: 4, size: 32, ...options });
    return readFile(join(folder, name, "shapes-000000.tar"));
  };
  const one = await make("one", { perShard: 4 });
  assert.deepEqual(await make("two", {}), one);
  assert.notDeepEqual(await make("three", { seed: 1 }), one);
  await make("four", { perShard: 1 });
  const files = await readTar(join(folder, "one", "shapes-000000.tar"));
  const last = await readTar(join(folder, "four", "shapes-000003.tar"));
  assert.deepEqual(last.get("000000003.jpg"), files.get("000000003.jpg"));
});

test("what is there is left, what is missing is made, and other pictures are refused", async (t) => {
  const folder = await temporaryFolder(t);
  const options = { count: 3, size: 32, perShard: 1 };
  await writeShapes(folder, options);
  const paths = [0, 1, 2].map((i) => join(folder, `shapes-00000${i}.tar`));
  const lost = await readFile(paths[1]!);
  const { ino } = await stat(paths[0]!);
  await rm(paths[1]!);
  await writeShapes(folder, options);
  assert.deepEqual(await readFile(paths[1]!), lost);
  assert.equal((await stat(paths[0]!)).ino, ino);
  await assert.rejects(writeShapes(folder, { ...options, seed: 2 }), {
    name: "ClipsmithError",
    message: /holds other pictures.*--out/,
  });
});
