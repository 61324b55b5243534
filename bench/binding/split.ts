/** Which scenes are for training and which for tests, and scenes that differ only in what belongs to what. */
import type { Random } from "../../src/util/random.js";
import {
  COLOURS,
  drawScene,
  RELATIONS,
  type Relation,
  type Scene,
  SHAPES,
  type Thing,
} from "../shapes/scene.js";

/**
 * How new a thing is: its colour, shape and place were trained together; or colour and shape were, but
 * never in this place; or colour and shape never were.
 */
export type Novelty = "seen" | "place" | "pair";

const OPPOSITE: Readonly<Record<Relation, Relation>> = {
  "left of": "right of",
  "right of": "left of",
  above: "below",
  below: "above",
};

/**
 * Colours, shapes and places are numbered. Colour and shape whose sum is divisible by 8 are never
 * trained: every eighth pair. Of the others those are left out whose sum with the place is divisible by
 * 4: every pair in one of the four places. So each colour, shape and place is trained equally often.
 */
function thingNovelty({ colour, shape }: Thing, place: Relation): Novelty {
  const pair = COLOURS.indexOf(colour) + SHAPES.indexOf(shape);
  if (pair % 8 === 0) return "pair";
  return (pair + RELATIONS.indexOf(place)) % 4 === 0 ? "place" : "seen";
}

/** How new a scene is, if both of its things are equally new; otherwise it is used for nothing. */
export function novelty({ first, relation, second }: Scene): Novelty | undefined {
  const kind = thingNovelty(first, relation);
  return thingNovelty(second, OPPOSITE[relation]) === kind ? kind : undefined;
}

/** A scene of this novelty, all equally likely. */
export function drawSceneOf(kind: Novelty, stream: Random): Scene {
  for (;;) {
    const scene = drawScene(stream);
    if (novelty(scene) === kind) return scene;
  }
}

/** Equal for scenes that look alike: with A left of B, B is right of A. */
export function meaning({ first, relation, second }: Scene): string {
  const turned = relation === "right of" || relation === "below";
  return JSON.stringify(
    turned
      ? { first: second, relation: OPPOSITE[relation], second: first }
      : { first, relation, second },
  );
}

/** The same words in other places: a bag of words cannot tell the two captions. */
export const swaps = {
  colour: ({ first, relation, second }: Scene): Scene => ({
    first: { ...first, colour: second.colour },
    relation,
    second: { ...second, colour: first.colour },
  }),
  size: ({ first, relation, second }: Scene): Scene => ({
    first: { ...first, size: second.size },
    relation,
    second: { ...second, size: first.size },
  }),
  relation: ({ first, relation, second }: Scene): Scene => ({
    first,
    relation: OPPOSITE[relation],
    second,
  }),
};

export type Swap = keyof typeof swaps;

/** Whether a swap changes the scene: things of one size have none to swap. */
export function changes(swap: Swap, scene: Scene): boolean {
  return meaning(swaps[swap](scene)) !== meaning(scene);
}
