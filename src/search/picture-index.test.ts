import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import type { Sample } from "../data/sample.js";
import type { Embedder } from "../model/embedder.js";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { buildIndex, writeIndex } from "./build-index.js";
import { PictureIndex } from "./picture-index.js";
import { searchPicture, searchText } from "./search.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "clipsmith-index-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** The unit vector of a name; the same for a text and for a picture path that ends in it. */
function vectorOf(name: string, width: number): Float32Array {
  const stream = random("vector", basename(name));
  const vector = Float32Array.from({ length: width }, () => stream.normal());
  const length = Math.hypot(...vector);
  return vector.map((x) => x / length);
}

/** Embeds names; pictures whose name starts with "broken" fail. */
function nameEmbedder(width: number): Embedder {
  const embed = (names: readonly string[]) => {
    const out = new Float32Array(names.length * width);
    for (const [i, name] of names.entries()) out.set(vectorOf(name, width), i * width);
    return out;
  };
  return {
    width,
    embedTexts: async (texts) => embed(texts),
    embedPictures: async (pictures) => ({
      embeddings: embed(pictures.map(String)),
      failed: pictures.flatMap((picture, index) =>
        basename(String(picture)).startsWith("broken") ? [{ index, reason: "not a picture" }] : [],
      ),
    }),
  };
}

function samplesNamed(names: readonly string[]): Sample[] {
  return names.map((name) => ({ picture: `pictures.tar/${name}`, captions: [`a ${name}`, name] }));
}

function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

test("a search gives the same order and scores as comparing with every picture", async () => {
  const names = Array.from({ length: 600 }, (_, i) => (i === 300 ? "broken" : `picture ${i}`));
  const embedder = nameEmbedder(16);
  const progress: number[] = [];
  const { index, indexed, skipped } = await buildIndex(
    join(folder, "exact"),
    embedder,
    samplesNamed(names),
    { onProgress: (done, total) => progress.push(done / total) },
  );
  assert.equal(indexed, 599);
  assert.equal(index.count, 599);
  assert.deepEqual(skipped, [{ where: "pictures.tar/broken", reason: "not a picture" }]);
  assert.equal(progress.length, 3);
  assert.equal(progress.at(-1), 1);

  const query = vectorOf("something else", 16);
  const expected = names
    .filter((name) => name !== "broken")
    .map((name) => ({ name, score: cosine(query, vectorOf(name, 16)) }))
    .sort((a, b) => b.score - a.score);
  for (const limit of [1, 10, 599, 5000]) {
    const matches = await index.search(query, { limit });
    assert.equal(matches.length, Math.min(limit, 599));
    for (const [i, match] of matches.entries()) {
      assert.equal(basename(match.picture), expected[i]!.name);
      assert.ok(Math.abs(match.score - expected[i]!.score) < 1e-5);
    }
  }
  assert.equal((await index.search(query)).length, 20);

  const [best] = await searchText(index, embedder, "picture 42", { limit: 1 });
  assert.equal(best?.picture, "pictures.tar/picture 42");
  assert.deepEqual(best.captions, ["a picture 42", "picture 42"]);
  assert.ok(Math.abs(best.score - 1) < 1e-5);
  const [same] = await searchPicture(index, embedder, "/elsewhere/picture 500", { limit: 1 });
  assert.equal(same?.picture, "pictures.tar/picture 500");
  await assert.rejects(searchPicture(index, embedder, "broken"), /not a picture/);

  // After the picture left out, rows and samples no longer have the same numbers.
  assert.equal((await index.shown(same.id))?.picture, "pictures.tar/picture 500");
  const row = await index.get(same.id);
  assert.deepEqual(row?.captions, same.captions);
  assert.ok(cosine(row.vector, vectorOf("picture 500", 16)) > 0.9999);
  for (const id of [-1, 599, 1.5, Number.NaN]) {
    assert.equal(await index.get(id), undefined);
    assert.equal((await index.shown(id))?.picture, undefined);
  }
  assert.deepEqual(await index.exampleCaptions(2), ["a picture 0", "a picture 299"]);
  index.close();
});

test("pictures without a file of their own are shown by their small copies", async () => {
  const thumbnail = Uint8Array.of(1, 2, 3);
  async function* batches() {
    const vectors = ["a", "b", "c"].map((name) => vectorOf(name, 8));
    yield {
      samples: [
        { name: "shard.tar/a", captions: ["first"], thumbnail },
        { name: "shard.parquet:2", path: "/pictures/b.png", captions: [] },
      ],
      embeddings: Float32Array.from(vectors.slice(0, 2).flatMap((vector) => [...vector])),
      skipped: [{ where: "shard.tar/bad", reason: "no picture" }],
    };
    yield { samples: [{ name: "shard.tar/c", captions: [] }], embeddings: vectors[2]! };
  }
  const done: number[] = [];
  const target = join(folder, "thumbnails");
  const { index, indexed, skipped } = await writeIndex(target, 8, batches(), (n) => done.push(n));
  assert.deepEqual([indexed, skipped.length, done], [3, 1, [3, 4]]);
  assert.deepEqual(await index.shown(0), { picture: "shard.tar/a", thumbnail });
  assert.deepEqual(await index.shown(1), { picture: "/pictures/b.png" });
  assert.deepEqual(await index.shown(2), { picture: "shard.tar/c" });
  assert.equal(await index.shown(3), undefined);
  const [best] = await index.search(vectorOf("b", 8), { limit: 1 });
  assert.equal(best?.picture, "/pictures/b.png");
  index.close();
});

test("a search with the embedding of another model says so", async () => {
  const target = join(folder, "width");
  const { index } = await buildIndex(target, nameEmbedder(8), samplesNamed(["one", "two"]));
  await assert.rejects(searchText(index, nameEmbedder(16), "one"), {
    name: "ClipsmithError",
    message: /width 8, .* width 16/,
  });
  await assert.rejects(index.search(new Float32Array(8)), ClipsmithError);
  index.close();
});

test("opening a folder without an index names the command that makes one", async () => {
  await assert.rejects(PictureIndex.open(join(folder, "nothing")), {
    name: "ClipsmithError",
    message: /clipsmith index/,
  });
});

test("a build that fails keeps the old index, and one that succeeds replaces it", async () => {
  const target = join(folder, "replaced");
  const first = await buildIndex(target, nameEmbedder(8), samplesNamed(["old"]));
  first.index.close();

  const failing: Embedder = {
    ...nameEmbedder(8),
    embedPictures: async () => Promise.reject(new Error("out of memory")),
  };
  await assert.rejects(buildIndex(target, failing, samplesNamed(["new"])), /out of memory/);
  await assert.rejects(buildIndex(target, nameEmbedder(8), samplesNamed(["broken"])), {
    name: "ClipsmithError",
    message: /None of the 1 pictures could be read.*broken: not a picture/,
  });
  await assert.rejects(buildIndex(target, nameEmbedder(8), []), ClipsmithError);
  const kept = await PictureIndex.open(target);
  assert.equal((await kept.shown(0))?.picture, "pictures.tar/old");

  const { index } = await buildIndex(target, nameEmbedder(4), samplesNamed(["new", "newer"]));
  assert.equal(index.width, 4);
  assert.equal((await index.shown(1))?.picture, "pictures.tar/newer");
  index.close();
  for (const late of [() => kept.search(vectorOf("old", 8)), () => kept.get(0)]) {
    await assert.rejects(late, { name: "ClipsmithError", message: /has been replaced/ });
  }
  kept.close();
  const left = (await readdir(folder)).filter((name) => name.startsWith("replaced"));
  assert.deepEqual(left, ["replaced"]);
});

test("an index whose replacement was killed half way is still found", async () => {
  const target = join(folder, "killed");
  const { index } = await buildIndex(target, nameEmbedder(8), samplesNamed(["old"]));
  index.close();
  await rename(target, `${target}.previous`);
  await mkdir(join(`${target}.building`, "pictures.lance"), { recursive: true });

  const found = await PictureIndex.open(target);
  assert.equal((await found.shown(0))?.picture, "pictures.tar/old");
  found.close();
  const again = await buildIndex(target, nameEmbedder(8), samplesNamed(["new"]));
  assert.equal((await again.index.shown(0))?.picture, "pictures.tar/new");
  again.index.close();
  assert.equal(existsSync(`${target}.previous`), false);
});

test("a folder with other files in it is left alone", async () => {
  const target = join(folder, "holiday");
  await mkdir(target);
  await writeFile(join(target, "beach.jpg"), "");
  await assert.rejects(buildIndex(target, nameEmbedder(8), samplesNamed(["one"])), {
    name: "ClipsmithError",
    message: /beach\.jpg/,
  });
  assert.ok(existsSync(join(target, "beach.jpg")));
});

test("a large index is searched through a vector index, and still finds the nearest", async () => {
  const names = Array.from({ length: 50_001 }, (_, i) => `p${i}`);
  const embedder = nameEmbedder(8);
  const { index } = await buildIndex(join(folder, "large"), embedder, samplesNamed(names));
  assert.equal(index.count, names.length);
  for (const name of ["p0", "p8191", "p8192", "p50000"]) {
    const [best] = await searchText(index, embedder, name, { limit: 1 });
    assert.equal(best?.picture, `pictures.tar/${name}`);
    assert.equal(best.id, Number(name.slice(1)));
    assert.equal((await index.shown(best.id))?.picture, best.picture);
  }
  index.close();
  const parts = await readdir(join(folder, "large", "pictures.lance"));
  assert.ok(parts.includes("_indices"), "no vector index was made");
});
