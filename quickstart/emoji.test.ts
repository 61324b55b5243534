import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import {
  type EmojiReport,
  prepareEmoji,
  readHeldOutWording,
  readTraining,
  readUnseenStyle,
} from "./emoji.js";
import { comparable, heldOutKeywords, loadEmoji } from "./wording.js";

const heldOut = heldOutKeywords(loadEmoji());
/** With a held-out keyword each; then a kiss, which one vendor lacks, and red hair, which all lack. */
const hexcodes = [
  ...loadEmoji()
    .filter(({ keywords }) => keywords.some((keyword) => heldOut.has(comparable(keyword))))
    .filter(({ hexcode }) => /^1F[46]..$/.test(hexcode))
    .slice(0, 3)
    .map(({ hexcode }) => hexcode),
  "1F48F",
  "1F9B0",
];

let root: string;
let folder: string;
let report: EmojiReport;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-emoji-"));
  folder = join(root, "first");
  report = await prepareEmoji(folder, { size: 32, hexcodes });
});
after(() => rm(root, { recursive: true }));

test("pictures are square, opaque, white at the edge and not empty", async () => {
  assert.deepEqual(report.pictures, { noto: 4, twemoji: 4, "fluent-emoji": 3, openmoji: 4 });
  assert.deepEqual(report.missing["fluent-emoji"], ["kiss", "red hair"]);
  const { pictures } = await readTraining(folder);
  const outlined = pictures.map((path) => path.replace(/(\/[^/]+\.png)$/, "-outlined$1"));
  for (const picture of [...pictures, ...outlined]) {
    const { data, info } = await sharp(picture).raw().toBuffer({ resolveWithObject: true });
    assert.deepEqual([info.width, info.height, info.channels], [32, 32, 3], picture);
    if (!outlined.includes(picture)) {
      assert.deepEqual([...data.subarray(0, 3)], [255, 255, 255], picture);
    }
    assert.ok(
      data.some((value) => value < 128),
      picture,
    );
  }
});

test("lists agree with the pictures", async () => {
  const training = await readTraining(folder);
  assert.equal(training.pictures.length, 11);
  const unseen = await readUnseenStyle(folder);
  assert.equal(unseen.pictures.length, 4);
  assert.ok(unseen.pictures.every((path) => path.startsWith(join(folder, "openmoji"))));
  assert.ok(!training.pictures.some((path) => path.includes("openmoji")));
  assert.ok(unseen.names.every((name) => training.names.includes(name)));
  assert.ok(!unseen.names.includes("red hair"));
});

test("every drawing for training is there with lines around its shapes too", async () => {
  const rows = async (list: string) =>
    (await readFile(join(folder, list), "utf8"))
      .trim()
      .split("\n")
      .map((row) => JSON.parse(row) as { path: string; captions: string[] });
  const [plain, outlined] = [await rows("train.jsonl"), await rows("outlined.jsonl")];
  assert.deepEqual(
    outlined,
    plain.map(({ path, captions }) => ({ path: path.replace("/", "-outlined/"), captions })),
  );
  const darkness = async (path: string) =>
    255 - (await sharp(join(folder, path)).greyscale().stats()).channels[0]!.mean;
  let darker = 0;
  for (const [i, { path }] of plain.entries()) {
    if ((await darkness(outlined[i]!.path)) > (await darkness(path))) darker++;
  }
  assert.ok(darker >= plain.length - 1, `${darker} of ${plain.length}`);
});

test("held-out keywords find the noto pictures that have them", async () => {
  const { pictures, queries } = await readHeldOutWording(folder);
  assert.deepEqual(
    pictures.map((path) => basename(path, ".png")),
    hexcodes.slice(0, 4),
  );
  assert.ok(pictures.every((path) => path.startsWith(join(folder, "noto"))));
  assert.ok(queries.length > 0);
  assert.equal(queries.length, report.heldOutKeywords);
  for (const { text, positives } of queries) {
    assert.ok(heldOut.has(comparable(text)));
    const having = loadEmoji().filter(({ keywords }) => keywords.includes(text));
    const expected = pictures.flatMap((path, index) =>
      having.some(({ hexcode }) => hexcode === basename(path, ".png")) ? [index] : [],
    );
    assert.deepEqual(positives, expected, text);
  }
});

test("a second run does nothing", async () => {
  const before = await modified(folder);
  const onProgress = () => assert.fail("it rendered again");
  assert.deepEqual(await prepareEmoji(folder, { size: 32, hexcodes, onProgress }), report);
  assert.deepEqual(await modified(folder), before);
});

test("a killed run is continued, with the same outcome; another size starts afresh", async () => {
  const killed = join(root, "killed");
  const state = JSON.parse(await readFile(join(folder, "prepared.json"), "utf8"));
  await mkdir(join(killed, "noto"), { recursive: true });
  await writeFile(join(killed, "prepared.json"), JSON.stringify({ version: state.version }));
  const finished = join(killed, "noto", `${hexcodes[0]}.png`);
  await writeFile(finished, "rendered before");

  assert.deepEqual(await prepareEmoji(killed, { size: 32, hexcodes }), report);
  assert.equal(await readFile(finished, "utf8"), "rendered before");
  const files = [...(await modified(folder)).keys()];
  assert.deepEqual([...(await modified(killed)).keys()], files);
  for (const file of files) {
    if (join(killed, file) === finished) continue;
    assert.deepEqual(await readFile(join(killed, file)), await readFile(join(folder, file)), file);
  }

  const counts: number[] = [];
  const onProgress = (done: number, total: number) => counts.push(done / total);
  await prepareEmoji(killed, { size: 16, hexcodes, onProgress });
  assert.equal((await sharp(finished).metadata()).width, 16);
  assert.equal(counts.at(-1), 1);
  assert.deepEqual(
    counts,
    [...counts].sort((a, b) => a - b),
  );
});

/** When each file below `path` was written. */
async function modified(path: string): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const file of (await readdir(path, { recursive: true })).sort()) {
    const stats = await stat(join(path, file));
    if (stats.isFile()) times.set(file, stats.mtimeMs);
  }
  return times;
}
