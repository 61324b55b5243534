import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { writeIndex } from "./build-index.js";
import { searchPresent } from "./present.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-present-"));
after(() => rmSync(folder, { recursive: true }));

const thumbnail = Uint8Array.of(1);
const file = (name: string) => join(folder, name);

interface Indexed {
  readonly name: string;
  readonly path?: string;
  readonly thumbnail?: Uint8Array;
}

/** An index whose pictures are the nearer to [1, 0] the earlier they stand. */
async function indexOf(name: string, pictures: readonly Indexed[]) {
  async function* batches() {
    yield {
      samples: pictures.map((picture) => ({ ...picture, captions: [] })),
      embeddings: Float32Array.from(
        pictures.flatMap((_, i) => {
          const angle = i / pictures.length;
          return [Math.cos(angle), Math.sin(angle)];
        }),
      ),
    };
  }
  return (await writeIndex(file(name), 2, batches())).index;
}

const query = Float32Array.of(1, 0);

test("pictures that are gone give way to the next ones, and are counted", async () => {
  const gone = (i: number) => i < 30 || i % 2 === 1;
  const pictures = Array.from({ length: 100 }, (_, i) => {
    const path = file(`${i}.png`);
    if (!gone(i)) writeFileSync(path, "");
    return { name: path, path };
  });
  const index = await indexOf("many", pictures);
  const cases = [
    { limit: 1, matches: ["30.png"], gone: 30 },
    { limit: 3, matches: ["30.png", "32.png", "34.png"], gone: 32 },
    { limit: 90, matches: 35, gone: 65 },
    { limit: 1000, matches: 35, gone: 65 },
  ];
  for (const { limit, ...expected } of cases) {
    const found = await searchPresent(index, query, { limit });
    const names = found.matches.map(({ picture }) => basename(picture));
    const matches = typeof expected.matches === "number" ? names.length : names;
    assert.deepEqual({ matches, gone: found.gone }, expected, `limit ${limit}`);
    const scores = found.matches.map(({ score }) => score);
    assert.deepEqual(
      scores,
      [...scores].sort((a, b) => b - a),
    );
  }
  index.close();
});

test("what is kept with the index, in an archive or elsewhere than on the disk is there", async () => {
  writeFileSync(file("shard.tar"), "");
  writeFileSync(file("rows.parquet"), "");
  mkdirSync(file("folder"));
  const there: readonly Indexed[] = [
    { name: "shard.tar/a" },
    { name: "https://example.org/shard.tar/a" },
    { name: file("gone.tar/a"), thumbnail },
    { name: file("shard.tar/a") },
    { name: file("rows.parquet:12") },
  ];
  const goneOnes: readonly Indexed[] = [
    { name: file("gone.tar/a") },
    { name: file("gone.parquet:12") },
    { name: "gone.tar/b", path: file("folder/gone.png") },
  ];
  const index = await indexOf("kinds", [...goneOnes, ...there]);
  const found = await searchPresent(index, query);
  assert.deepEqual(
    found.matches.map(({ picture }) => picture),
    there.map(({ name }) => name),
  );
  assert.equal(found.gone, 3);
  index.close();
});

test("an index whose pictures are all gone finds none", async () => {
  const index = await indexOf("gone", [{ name: "a", path: file("nowhere/a.png") }]);
  assert.deepEqual(await searchPresent(index, query), { matches: [], gone: 1 });
  index.close();
});
