/** For tests: a tiny model in memory, and shards of small pictures of one colour each. */
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import sharp from "sharp";
import { pack } from "tar-stream";
import { CLIP } from "../clip/index.js";
import { trainTokenizer } from "../data/index.js";
import { Model, modelConfigSchema } from "../model/index.js";
import { initialize } from "../nn/index.js";
import { openEmbeddings } from "./read-embeddings.js";

const tokenizer = trainTokenizer([]);

/** A model that embeds in no time; equal seeds give equal ones. */
export function tinyModel(seed = 1): Model {
  const config = modelConfigSchema.parse({
    clip: {
      dimText: 8,
      dimImage: 8,
      dimLatent: 4,
      numTextTokens: tokenizer.vocabularySize,
      textSeqLen: 8,
      textEncDepth: 1,
      textHeads: 2,
      textDimHead: 4,
      visualEncDepth: 1,
      visualHeads: 2,
      visualDimHead: 4,
      visualImageSize: 8,
      visualPatchSize: 4,
    },
  });
  const weights = initialize(new CLIP(config.clip).parameters, seed);
  return new Model({ config, tokenizer, weights }, { threads: 1 });
}

/** A picture of a colour of its own. */
export function pictureOf(i: number): Promise<Buffer> {
  const background = { r: (i * 67) % 256, g: (i * 101) % 256, b: (i * 29) % 256 };
  return sharp({ create: { width: 10, height: 8, channels: 3, background } })
    .png()
    .toBuffer();
}

/**
 * Writes tar shards `0.tar`, `1.tar`, ... of so many pictures each, numbered through, with captions
 * "number 0", ...; those in `bad` are no pictures.
 */
export async function writeTars(
  folder: string,
  sizes: readonly number[],
  bad: readonly number[] = [],
): Promise<string> {
  await mkdir(folder, { recursive: true });
  let number = 0;
  for (const [shard, size] of sizes.entries()) {
    const tar = pack();
    for (let i = 0; i < size; i++, number++) {
      const key = String(number).padStart(4, "0");
      tar.entry({ name: `${key}.png` }, bad.includes(number) ? "bad" : await pictureOf(number));
      tar.entry({ name: `${key}.txt` }, `number ${number}`);
    }
    tar.finalize();
    await writeFile(join(folder, `${shard}.tar`), await buffer(tar));
  }
  return folder;
}

/** Writes pictures `0000.png`, ... without captions. */
export async function writePictures(folder: string, count: number): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (let i = 0; i < count; i++) {
    await writeFile(join(folder, `${String(i).padStart(4, "0")}.png`), await pictureOf(i));
  }
  return folder;
}

/** What a folder of embeddings holds: the last part of each name, and its embedding. */
export async function contentOf(folder: string, model: Model): Promise<[string, number[]][]> {
  const rows: [string, number[]][] = [];
  for await (const { samples, embeddings } of (await openEmbeddings(folder, model)).read()) {
    for (const [i, { name }] of samples.entries()) {
      const row = embeddings.subarray(i * model.width, (i + 1) * model.width);
      rows.push([name.split(/[\\/]/).at(-1)!, [...row]]);
    }
  }
  return rows;
}

/** Names of the shards in a folder. */
export async function shardsIn(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  return names.filter((name) => name.endsWith(".parquet")).sort();
}
