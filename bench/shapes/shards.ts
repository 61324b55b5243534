/** Pictures of shapes with their captions, as WebDataset has them: tar files of `key.jpg`, `key.txt`, `key.json`. */
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import sharp from "sharp";
import { pack } from "tar-stream";
import { mapConcurrently } from "../../src/data/concurrent.js";
import { ClipsmithError } from "../../src/util/errors.js";
import { random } from "../../src/util/random.js";
import { replaceFile } from "../../src/util/write-file.js";
import { paint } from "./paint.js";
import { captionOf, drawScene, type Scene } from "./scene.js";

export interface ShapesOptions {
  /** How many pictures. */
  readonly count: number;
  /** Height and width of the pictures, in pixels; default 256. */
  readonly size?: number;
  /** Pictures in a shard; default 1000. */
  readonly perShard?: number;
  /** Key of all random numbers; default 0. */
  readonly seed?: number;
  /** Called after each shard with how many of all pictures are there. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Names a collection's folder, so that no other is mixed into it. */
const STATE = "shapes.json";
/** Changes when equal seeds give other pictures. */
const VERSION = 1;
const JPEG_QUALITY = 90;
/** Pictures under way: one is painted while others are compressed. */
const CONCURRENT = 4;

/**
 * Writes shards `shapes-000000.tar`, `shapes-000001.tar`, ... into `folder`. What is in a picture is a
 * function of its index and the seed. Shards that are there are left as they are, so that a run that was
 * killed is continued.
 *
 * @throws ClipsmithError if the folder holds pictures made with other options.
 */
export async function writeShapes(
  folder: string,
  { count, size = 256, perShard = 1000, seed = 0, onProgress }: ShapesOptions,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await claimFolder(
    folder,
    `${JSON.stringify({ version: VERSION, count, size, perShard, seed })}\n`,
  );
  for (let start = 0; start < count; start += perShard) {
    const end = Math.min(start + perShard, count);
    const path = join(folder, `shapes-${String(start / perShard).padStart(6, "0")}.tar`);
    if (!existsSync(path)) await replaceFile(path, [await shard(start, end, size, seed)]);
    onProgress?.(end, count);
  }
}

async function claimFolder(folder: string, state: string): Promise<void> {
  const path = join(folder, STATE);
  if (!existsSync(path)) {
    await replaceFile(path, [Buffer.from(state)]);
    return;
  }
  const found = await readFile(path, "utf8");
  if (found === state) return;
  throw new ClipsmithError(
    `${folder} holds other pictures: ${found.trim()}, not ${state.trim()}. Choose another folder by --out.`,
  );
}

/** The bytes of a tar file of the pictures from `start` up to `end`. */
async function shard(start: number, end: number, size: number, seed: number): Promise<Buffer> {
  const indices = Array.from({ length: end - start }, (_, i) => start + i);
  const samples = await mapConcurrently(indices, CONCURRENT, (index) => sample(index, size, seed));
  const tar = pack();
  for (const [i, { scene, jpeg }] of samples.entries()) {
    const key = String(start + i).padStart(9, "0");
    const add = (name: string, content: string | Buffer) =>
      // A date of its own would make equal collections differ.
      tar.entry({ name: `${key}.${name}`, mtime: new Date(0) }, content);
    add("jpg", jpeg);
    add("txt", captionOf(scene));
    add("json", JSON.stringify(scene));
  }
  tar.finalize();
  return buffer(tar);
}

async function sample(
  index: number,
  size: number,
  seed: number,
): Promise<{ scene: Scene; jpeg: Buffer }> {
  const scene = drawScene(random(seed, "scene", index));
  const pixels = paint(scene, size, random(seed, "paint", index));
  const jpeg = await sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
    .jpeg({ quality: JPEG_QUALITY })
    .toBuffer();
  return { scene, jpeg };
}
