import sharp from "sharp";
import { retrieval } from "../../src/eval/index.js";
import type { Embedder, PictureSource } from "../../src/model/index.js";
import { random } from "../../src/util/random.js";
import { paint } from "../shapes/paint.js";
import { captionOf, type Scene } from "../shapes/scene.js";
import { changes, drawSceneOf, meaning, type Novelty, type Swap, swaps } from "./split.js";

/** Scenes of one novelty, no two alike, and a picture of each. */
export interface TestSet {
  readonly kind: Novelty;
  readonly scenes: readonly Scene[];
  readonly pictures: readonly PictureSource[];
}

/** What was measured on a test set. */
export interface BindingFigures {
  /** Part of the captions whose picture comes first among those of all sets, and the other way round. */
  readonly textToImage: number;
  readonly imageToText: number;
  /** Of the pictures that a swap changes, the part that the right caption fits better. Chance is a half. */
  readonly swaps: Readonly<Record<Swap, number>>;
}

/** Draws `count` scenes and paints them; there are 448 of colours and shapes never seen together. */
export async function testSet(kind: Novelty, count: number, size: number): Promise<TestSet> {
  const stream = random("binding test", kind);
  const scenes = new Map<string, Scene>();
  while (scenes.size < count) {
    const scene = drawSceneOf(kind, stream);
    if (!scenes.has(meaning(scene))) scenes.set(meaning(scene), scene);
  }
  const pictures = [...scenes.values()].map((scene, i) =>
    sharp(paint(scene, size, random("binding test picture", kind, i)), {
      raw: { width: size, height: size, channels: 3 },
    })
      .png()
      .toBuffer(),
  );
  return { kind, scenes: [...scenes.values()], pictures: await Promise.all(pictures) };
}

/** Measures a model on test sets; each is searched among the pictures and captions of all. */
export async function measureBinding(
  embedder: Embedder,
  sets: readonly TestSet[],
): Promise<ReadonlyMap<Novelty, BindingFigures>> {
  const scenes = sets.flatMap((set) => set.scenes);
  const kinds = sets.flatMap(({ kind, scenes: { length } }) => Array<Novelty>(length).fill(kind));
  const { width } = embedder;
  const texts = await embedder.embedTexts(scenes.map(captionOf));
  const { embeddings: pictures } = await embedder.embedPictures(
    sets.flatMap((set) => set.pictures),
  );
  const score = (embeddings: Float32Array, i: number) => {
    let sum = 0;
    for (let x = i * width; x < (i + 1) * width; x++) sum += embeddings[x]! * pictures[x]!;
    return sum;
  };
  /** Whether each picture's caption fits better than with this swap; undefined where they are equal. */
  const compare = async (swap: Swap) => {
    const swapped = scenes.map((scene) => captionOf(swaps[swap](scene)));
    const wrong = await embedder.embedTexts(swapped);
    return scenes.map((scene, i) => {
      if (!changes(swap, scene)) return undefined;
      const difference = score(texts, i) - score(wrong, i);
      // A bag of words cannot tell, and would be right half of the time.
      return difference > 0 ? 1 : difference === 0 ? 0.5 : 0;
    });
  };
  const compared = {
    colour: await compare("colour"),
    size: await compare("size"),
    relation: await compare("relation"),
  };
  const figuresOf = (kind: Novelty): BindingFigures => {
    const { textToImage, imageToText } = retrieval({
      texts,
      pictures,
      width,
      positives: (i) => (kinds[i] === kind ? [i] : []),
    });
    const accuracy = (swap: Swap) =>
      mean(compared[swap].flatMap((right, i) => (kinds[i] === kind ? (right ?? []) : [])));
    return {
      textToImage: textToImage.r1,
      imageToText: imageToText.r1,
      swaps: {
        colour: accuracy("colour"),
        size: accuracy("size"),
        relation: accuracy("relation"),
      },
    };
  };
  return new Map(sets.map(({ kind }) => [kind, figuresOf(kind)]));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
