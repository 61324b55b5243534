import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import sharp from "sharp";
import { CANNOT_BE_READ } from "../data/byte-file.js";
import { openSource, type SampleSource } from "../data/index.js";
import type { Model } from "../model/index.js";
import { ClipsmithError } from "../util/errors.js";
import { readSafetensors } from "../weights/index.js";
import { type EmbedRun, embed } from "./embed.js";
import { embedSources } from "./embed-entries.js";
import { embedOptionsSchema } from "./options.js";
import { openEmbeddings } from "./read-embeddings.js";
import { contentOf, pictureOf, shardsIn, tinyModel, writePictures, writeTars } from "./testing.js";

let root: string;
let model: Model;
/** 40 pictures in three shards, three of them bad, and 9 in a folder. */
let sources: SampleSource[];
let whole: [string, number[]][];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-embed-"));
  model = tinyModel();
  const tars = await writeTars(join(root, "tars"), [17, 3, 20], [5, 18, 30]);
  const pictures = await writePictures(join(root, "pictures"), 9);
  sources = await Promise.all(
    [tars, pictures].map((spec) => openSource(spec, { captions: "optional" })),
  );
  const { out } = await embedAll("whole");
  whole = (await contentOf(out, model)).toSorted();
});
after(async () => {
  await model.release();
  await rm(root, { recursive: true, force: true });
});

let folders = 0;
const newFolder = (name = "out") => join(root, `${name}-${folders++}`);

async function embedAll(name: string, options: Partial<EmbedRun> = {}) {
  const out = newFolder(name);
  const result = await embed({
    model,
    sources,
    out,
    batchSize: 4,
    workers: 1,
    shardSize: 8,
    ...options,
  });
  return { out, ...result };
}

/** Like `whole`, but for what other batches change in the last bits. */
function assertWhole(content: readonly [string, number[]][], what = ""): void {
  const sorted = content.toSorted();
  assert.deepEqual(
    sorted.map(([name]) => name),
    whole.map(([name]) => name),
    what,
  );
  for (const [i, [name, row]] of sorted.entries()) {
    const expected = whole[i]![1];
    const far = Math.max(...row.map((x, j) => Math.abs(x - expected[j]!)));
    assert.ok(far < 1e-5, `${what} ${name} differs by ${far}`);
  }
}

const names = async (folder: string) => (await readdir(folder)).toSorted();

test("all samples are there, in order, in files that others can read", async () => {
  const { out, pictures, embedded, finished, skipped } = await embedAll("again");
  assert.deepEqual(
    { pictures, embedded, finished },
    { pictures: 46, embedded: 46, finished: true },
  );
  assert.deepEqual([...skipped.causes.values()], [3]);
  const lines = (await readFile(join(out, "00000-skipped.jsonl"), "utf8")).trim().split("\n");
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { where: string }).where.split(/[\\/]/).at(-1)),
    ["0005", "0018", "0030"],
  );

  const content = await contentOf(out, model);
  const numbers = Array.from({ length: 40 }, (_, i) => i).filter((i) => ![5, 18, 30].includes(i));
  assert.deepEqual(
    content.map(([name]) => name),
    [
      ...numbers.map((i) => String(i).padStart(4, "0")),
      ...Array.from({ length: 9 }, (_, i) => `000${i}.png`),
    ],
  );
  const { embeddings } = await model.embedPictures(await Promise.all(numbers.map(pictureOf)));
  for (const [i, [name, row]] of content.slice(0, numbers.length).entries()) {
    const far = Math.max(...row.map((x, j) => Math.abs(x - embeddings[i * model.width + j]!)));
    assert.ok(far < 1e-5, `${name} differs by ${far}`);
  }

  const shards = await shardsIn(out);
  assert.ok(shards.length >= 4, `${shards}`);
  const file = await asyncBufferFromFile(join(out, shards[0]!));
  const rows = await parquetReadObjects({ file, compressors, utf8: false });
  const { tensors } = await readSafetensors(
    join(out, shards[0]!.replace("parquet", "safetensors")),
  );
  assert.deepEqual([...tensors.keys()], ["pictures"]);
  assert.deepEqual(tensors.get("pictures")!.shape, [rows.length, model.width]);
  const [first] = rows as { captions: string[]; path: string | null; thumbnail: Uint8Array }[];
  assert.deepEqual([first!.captions, first!.path], [["number 0"], null]);
  assert.equal((await sharp(first!.thumbnail).metadata()).format, "webp");
  for await (const { samples } of (await openEmbeddings(out, model)).read()) {
    for (const { name, path, thumbnail, captions } of samples) {
      const isFile = name.endsWith(".png");
      assert.equal(path, isFile ? name : undefined);
      assert.deepEqual([thumbnail === undefined, captions.length], [isFile, isFile ? 0 : 1]);
    }
  }
});

test("parts make a whole, more parts than samples too", async () => {
  const shared = newFolder();
  for (const index of [0, 1, 2]) {
    if (index > 0) {
      await assert.rejects(openEmbeddings(shared, model), {
        name: "ClipsmithError",
        message: /is not complete\. Parts? .*count from 0: run the command/,
      });
    }
    const part = { index, count: 3 };
    await embed({ model, sources, out: shared, part, batchSize: 4, workers: 1 });
  }
  assertWhole(await contentOf(shared, model));
  const few = await writePictures(join(root, "few"), 2);
  const source = await openSource(few, { captions: "optional" });
  const out = newFolder();
  for (const index of [2, 1, 0]) {
    const { pictures } = await embed({ model, sources: [source], out, part: { index, count: 3 } });
    assert.equal(pictures, index < 2 ? 1 : 0);
  }
  assert.deepEqual(
    (await contentOf(out, model)).map(([name]) => name),
    ["0000.png", "0001.png"],
  );
});

test("what was stopped goes on after the last batch", async () => {
  const out = newFolder();
  const seen: number[] = [];
  for (let i = 0; ; i++) {
    const controller = new AbortController();
    let batches = 0;
    const { finished, pictures } = await embedAll("", {
      out,
      signal: controller.signal,
      onProgress: () => {
        if (++batches > 1 + 2 * i) controller.abort();
      },
    });
    seen.push(pictures);
    if (finished) break;
  }
  assert.ok(seen.length >= 3, `${seen}`);
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assertWhole(await contentOf(out, model));
  const before = await names(out);
  const again = await embedAll("", { out });
  assert.deepEqual([again.embedded, again.pictures, again.finished], [0, 46, true]);
  assert.deepEqual(await names(out), before);
});

test("a part is embedded by one process at a time, and a killed one's is taken over", async () => {
  const { out } = await embedAll("locked");
  const whole = await names(out);
  await Promise.all(
    whole.filter((name) => name !== "embeddings.json").map((name) => rm(join(out, name))),
  );
  let refusal: unknown;
  const onStart = async () => {
    refusal = await embedAll("", { out }).catch((error: unknown) => error);
  };
  let second: Promise<void> | undefined;
  const { pictures } = await embedAll("", {
    out,
    onStart: () => {
      second = onStart();
    },
  });
  await second;
  assert.equal(pictures, 46);
  assert.ok(refusal instanceof ClipsmithError);
  assert.match(
    refusal.message,
    new RegExp(
      `^${out} is being embedded by the process ${process.pid}, since 20.*\\. Wait for its end`,
    ),
  );
  assert.deepEqual(await names(out), whole);
  const dead = { pid: process.pid, machine: "", started: "", id: "", since: "" };
  await writeFile(join(out, "00000.lock"), JSON.stringify(dead));
  await utimes(join(out, "00000.lock"), 0, 0);
  assert.ok((await embedAll("", { out })).finished);
  assert.deepEqual(await names(out), whole);
});

test("incomplete and damaged shards are made again, with what came after them", async () => {
  const { out } = await embedAll("damaged");
  const all = await names(out);
  const path = (name: string) => join(out, name);
  for (const damage of [
    // As kills leave it: at the tensors, between the two files, at the rows, before the last file.
    async () => {
      for (const name of all.filter((name) => /-00000[1-9]\./.test(name))) await rm(path(name));
      await writeFile(path("00000-000001.safetensors.0a.tmp"), "half");
    },
    async () => {
      await rm(path("00000-000004.parquet"));
      await writeFile(path("00000-000004.parquet.0b.tmp"), "PAR1");
    },
    () => rm(path("00000.json")),
    // As a power cut or a bad copy may.
    () => truncate(path("00000-000002.parquet"), 100),
    () => truncate(path("00000-000002.safetensors"), 100),
  ]) {
    await damage();
    const { finished } = await embedAll("", { out });
    assert.ok(finished);
    assert.deepEqual(await names(out), all);
    assertWhole(await contentOf(out, model), String(damage));
  }
});

test("a folder is refused for other embeddings, with what is different", async () => {
  const few = await openSource(await writePictures(join(root, "changing"), 3), {
    captions: "optional",
  });
  const { out } = await embedAll("refusing", { sources: [few], texts: true });
  const refused = (options: Partial<EmbedRun>, message: RegExp) =>
    assert.rejects(embedAll("", { sources: [few], texts: true, out, ...options }), {
      name: "ClipsmithError",
      message,
    });
  const other = tinyModel(2);
  await refused({ model: other }, /holds embeddings of another model/);
  await assert.rejects(openEmbeddings(out, other), /of another model.*clipsmith embed/s);
  await other.release();
  await refused({ sources }, /of .*changing, not of .*tars, .*pictures\. Go on with the same/);
  await refused({ part: { index: 0, count: 2 } }, /in one part, not in 2/);
  await refused({ texts: false }, /with those of captions/);
  await refused({ thumbnailSize: 0 }, /small pictures of 192 pixels, not of 0/);
  await refused({ part: { index: 1, count: 1 } }, /no part 1 of 1: parts count from 0/);
  await refused({ shardSize: 0 }, /shardSize: expected .* at least 1, got 0|shardSize/);
  await writePictures(join(root, "changing"), 4);
  const grown = await openSource(join(root, "changing"), { captions: "optional" });
  await refused({ sources: [grown] }, /changing as it was: since then, pictures or shards were/);
  await refused({ out: join(root, "changing") }, /holds 0000\.png and no embeddings/);
  assert.equal((await embedAll("", { sources: [few], texts: true, out })).embedded, 0);
});

test("captions are embedded where asked, in the order of their pictures", async () => {
  const { out } = await embedAll("texts", { texts: true });
  let captions: string[] = [];
  for await (const { samples, texts } of (await openEmbeddings(out, model)).read()) {
    captions = samples.flatMap((sample) => sample.captions);
    assert.deepEqual(texts, await model.embedTexts(captions));
  }
  assert.ok(captions.length < 10, "of pictures without captions there are none");
});

test("what is out of reach stops the work, which then goes on; or is left out where asked", async () => {
  const [tars] = sources;
  let isThere = false;
  const cut: SampleSource = {
    name: "cut",
    shards: tars!.shards.map((shard, i) => ({
      name: shard.name,
      async *read(start = 0) {
        let entry = start;
        for await (const sample of shard.read(start)) {
          if (i === 2 && entry++ === 10 && !isThere) {
            yield { where: shard.name, reason: `${CANNOT_BE_READ}: in 6 tries`, rest: true };
            return;
          }
          yield sample;
        }
      },
    })),
  };
  const out = newFolder();
  await assert.rejects(embedAll("", { sources: [cut], out }), {
    name: "ClipsmithError",
    message: /2\.tar: the shard cannot be read: in 6 tries\. What was embedded is kept/,
  });
  assert.ok((await shardsIn(out)).length >= 3, "what came before is kept");
  isThere = true;
  const { pictures, embedded } = await embedAll("", { sources: [cut], out });
  assert.ok(embedded > 0 && embedded < 25, `${embedded}`);
  assert.equal(pictures, 37);
  assert.equal(new Set((await contentOf(out, model)).map(([name]) => name)).size, 37);

  isThere = false;
  const left = await embedAll("left", { sources: [cut], skipUnreadable: true });
  assert.equal(left.pictures, 28);
  assert.ok(left.skipped.causes.has(CANNOT_BE_READ));
});

test("too many bad samples stop the work, and none at all is an error", async () => {
  const few = await openSource(await writeTars(join(root, "few-bad"), [3], [0, 1, 2]));
  await assert.rejects(embedAll("none", { sources: [few] }), {
    message: /no picture that could be embedded\. The first one is .*0000: it is not a picture/,
  });
  const bad = Array.from({ length: 30 }, (_, i) => 4 * i);
  const many = await openSource(await writeTars(join(root, "many-bad"), [120], bad));
  const out = newFolder();
  await assert.rejects(embedAll("", { sources: [many], out, shardSize: 1000 }), {
    message: /^Embedding stopped: 2\d.* more than the 20 % of maxSkippedRate/,
  });
  const { pictures } = await embedAll("", { sources: [many], out, maxSkippedRate: 0.5 });
  assert.equal(pictures, 90);
});

test("damaged shards are not believed", async () => {
  const { out } = await embedAll("unbelievable");
  const [first, second] = (await shardsIn(out)).map((name) => name.replace(".parquet", ""));
  await writeFile(
    join(out, `${first}.safetensors`),
    await readFile(join(out, `${second}.safetensors`)),
  );
  await assert.rejects(contentOf(out, model), {
    name: "ClipsmithError",
    message: /000000 cannot be read: its two files are not of one shard.* Remove /,
  });
});

test("a source is embedded without a folder, too", async () => {
  const rows: string[] = [];
  const options = embedOptionsSchema.parse({ workers: 1, batchSize: 16 });
  for await (const { samples, embeddings } of embedSources(model, sources, options)) {
    assert.equal(embeddings.length, samples.length * model.width);
    rows.push(...samples.map(({ name }) => name.split(/[\\/]/).at(-1)!));
  }
  assert.deepEqual(
    rows.toSorted(),
    whole.map(([name]) => name),
  );
});
