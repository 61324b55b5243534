/** Batches in which pictures and texts differ only in what belongs to what. */
import { normaliseInto, type PixelFormat, type Tokenizer } from "../../src/data/index.js";
import type { Batch } from "../../src/train/index.js";
import { random } from "../../src/util/random.js";
import { paint } from "../shapes/paint.js";
import { captionOf, type Scene } from "../shapes/scene.js";
import { changes, drawSceneOf, meaning, novelty, type Swap, swaps } from "./split.js";

export interface BatchOptions {
  readonly batchSize: number;
  readonly textLength: number;
  readonly tokenizer: Tokenizer;
  readonly format: PixelFormat;
  readonly seed: number;
}

/**
 * The batch of a step: scenes for training, each followed by those of its swaps that are for training,
 * too. So for most pictures the batch holds a text of the same words that is wrong, and the other way
 * round (hard negatives; Yuksekgonul et al., "When and why vision-language models behave like
 * bags-of-words", 2022). Every picture is painted for its step alone.
 */
export function bindingBatch(step: number, options: BatchOptions): Batch {
  const { batchSize, textLength, tokenizer, format, seed } = options;
  const scenes = drawScenes(step, batchSize, seed);
  const area = format.size ** 2 * format.channels;
  const image = new Float32Array(batchSize * area);
  for (const [slot, scene] of scenes.entries()) {
    const pixels = paint(scene, format.size, random(seed, "paint", step, slot));
    normaliseInto(image.subarray(slot * area, (slot + 1) * area), pixels, format);
  }
  const meanings = scenes.map(meaning);
  const identities = {
    pictures: Float64Array.from(meanings, (one) => meanings.indexOf(one)),
    captions: [],
    known: new Float64Array(),
    knownCounts: new Int32Array(batchSize),
  };
  return { text: tokenizer.encodeBatch(scenes.map(captionOf), textLength), image, identities };
}

function drawScenes(step: number, count: number, seed: number): Scene[] {
  const stream = random(seed, "scenes", step);
  const scenes: Scene[] = [];
  while (scenes.length < count) {
    const scene = drawSceneOf("seen", stream);
    const swapped = (Object.keys(swaps) as Swap[])
      .filter((swap) => changes(swap, scene))
      .map((swap) => swaps[swap](scene))
      .filter((other) => novelty(other) === "seen");
    scenes.push(scene, ...swapped);
  }
  return scenes.slice(0, count);
}
