import assert from "node:assert/strict";
import { test } from "node:test";
import { trainTokenizer } from "../../src/data/index.js";
import type { Embedder } from "../../src/model/index.js";
import { random } from "../../src/util/random.js";
import { COLOURS, captionOf, drawScene, RELATIONS, type Scene, SHAPES } from "../shapes/scene.js";
import { bindingBatch } from "./batches.js";
import { measureBinding, type TestSet } from "./measure.js";
import { changes, drawSceneOf, meaning, type Novelty, novelty, swaps } from "./split.js";

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const KINDS: readonly Novelty[] = ["seen", "place", "pair"];
const WIDTH = 64;

const opposite = (scene: Scene) => swaps.relation(scene).relation;
/** Colour, shape and place of both things of a scene. */
const things = (scene: Scene) => [
  [scene.first.colour, scene.first.shape, scene.relation],
  [scene.second.colour, scene.second.shape, opposite(scene)],
];

test("training and tests share colours, shapes and places, but no combination of them", () => {
  const drawn = (kind: Novelty) =>
    range(3000).flatMap((i) => things(drawSceneOf(kind, random("split", kind, i))));
  const [seen, place, pair] = KINDS.map((kind) => drawn(kind));
  const distinct = (list: readonly (readonly string[])[], width: number) =>
    new Set(list.map((thing) => thing.slice(0, width).join()));
  const [trained, trainedPairs] = [distinct(seen!, 3), distinct(seen!, 2)];
  // Of 64 pairs 8 are never seen, the others in three of four places.
  assert.equal(trained.size, 56 * 3);
  assert.equal(trainedPairs.size, 56);
  for (const thing of distinct(place!, 3)) assert.ok(!trained.has(thing), thing);
  for (const thing of distinct(place!, 2)) assert.ok(trainedPairs.has(thing), thing);
  for (const thing of distinct(pair!, 2)) assert.ok(!trainedPairs.has(thing), thing);
  const values = [COLOURS, SHAPES, RELATIONS];
  for (const list of [seen!, place!, pair!]) {
    for (const [column, all] of values.entries()) {
      assert.equal(new Set(list.map((thing) => thing[column])).size, all.length);
    }
  }
});

test("swaps keep the words of a caption, and change what it says", () => {
  const words = (scene: Scene) => captionOf(scene).split(" ").sort();
  for (const i of range(200)) {
    const scene = drawScene(random("swap", i));
    const { first, second } = scene;
    for (const swap of ["colour", "size"] as const) {
      const other = swaps[swap](scene);
      assert.deepEqual(words(other), words(scene));
      assert.equal(other.first[swap], second[swap]);
      assert.equal(other.second[swap], first[swap]);
    }
    assert.ok(changes("colour", scene) && changes("relation", scene));
    assert.equal(changes("size", scene), first.size !== second.size);
  }
});

test("scenes that look alike have one meaning", () => {
  const scene = drawScene(random(7));
  const turned: Scene = {
    first: scene.second,
    relation: opposite(scene),
    second: scene.first,
  };
  assert.notEqual(captionOf(turned), captionOf(scene));
  assert.equal(meaning(turned), meaning(scene));
  assert.equal(novelty(turned), novelty(scene));
  const drawn = range(2000).map((i) => meaning(drawScene(random("meaning", i))));
  assert.ok(new Set(drawn).size > 1800);
});

test("batches hold scenes for training, most with a swapped one, and depend on seed and step alone", () => {
  const captions = range(200).map((i) => captionOf(drawScene(random("words", i))));
  const tokenizer = trainTokenizer(captions);
  const textLength = 12;
  const format = { size: 8, channels: 3, mean: [0, 0, 0], std: [1, 1, 1] } as const;
  const options = { batchSize: 32, textLength, tokenizer, format, seed: 1 };
  const batch = bindingBatch(3, options);
  assert.deepEqual(bindingBatch(3, options), batch);
  assert.notDeepEqual(bindingBatch(4, options).text, batch.text);
  assert.notDeepEqual(bindingBatch(3, { ...options, seed: 2 }).text, batch.text);
  assert.equal(batch.image.length, 32 * 3 * 64);
  assert.ok(batch.image.every((value) => value >= 0 && value <= 1));
  const rows = range(32).map((i) => batch.text.slice(i * textLength, (i + 1) * textLength));
  const bags = rows.map((row) => row.toSorted().join());
  const shared = bags.filter((bag) => bags.filter((other) => other === bag).length > 1);
  assert.ok(shared.length > 16, `${shared.length} of 32 texts share their words with another`);
});

/** A model that knows captions and, for its pictures, scenes: `embed` is its vector of a caption. */
function knowing(embed: (caption: string) => Float32Array): Embedder {
  const embedAll = (texts: readonly string[]) => {
    const out = new Float32Array(texts.length * WIDTH);
    for (const [i, text] of texts.entries()) out.set(embed(text), i * WIDTH);
    return out;
  };
  return {
    width: WIDTH,
    embedTexts: async (texts) => embedAll(texts),
    embedPictures: async (pictures) => ({
      embeddings: embedAll(pictures as readonly string[]),
      failed: [],
    }),
  };
}

function unit(key: string): Float32Array {
  const stream = random(key);
  const values = Float32Array.from({ length: WIDTH }, () => stream.normal());
  const norm = Math.hypot(...values);
  return values.map((value) => value / norm);
}

/** Scenes with their captions for pictures. */
const sets = KINDS.map((kind): TestSet => {
  const all = range(60).map((i) => drawSceneOf(kind, random("set", kind, i)));
  const scenes = [...new Map(all.map((scene) => [captionOf(scene), scene])).values()];
  return { kind, scenes, pictures: scenes.map(captionOf) };
});

test("who knows what captions mean is always right", async () => {
  const figures = await measureBinding(knowing(unit), sets);
  assert.deepEqual([...figures.keys()], KINDS);
  for (const found of figures.values()) {
    assert.deepEqual(found, {
      textToImage: 1,
      imageToText: 1,
      swaps: { colour: 1, size: 1, relation: 1 },
    });
  }
});

test("who knows their words alone is right half of the time", async () => {
  const bag = (caption: string) =>
    unit(
      caption
        .replace(/left|right|above|below/, "by")
        .split(" ")
        .sort()
        .join(),
    );
  const figures = await measureBinding(knowing(bag), sets);
  for (const { swaps: found } of figures.values()) {
    assert.deepEqual(found, { colour: 0.5, size: 0.5, relation: 0.5 });
  }
});

test("who takes swapped things for the picture's is never right", async () => {
  const words = (caption: string) => caption.split(" ");
  // Its pictures show what the caption says with colours swapped.
  const swapped = (caption: string) => {
    const w = words(caption);
    const second = w.length - 2;
    return w.with(2, w[second]!).with(second, w[2]!).join(" ");
  };
  const model: Embedder = {
    ...knowing(unit),
    embedPictures: knowing((caption) => unit(swapped(caption))).embedPictures,
  };
  const figures = await measureBinding(model, sets);
  for (const found of figures.values()) {
    assert.equal(found.swaps.colour, 0);
    assert.ok(found.textToImage < 0.2);
  }
});
