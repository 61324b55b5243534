/** Scenes of two things and what is said of them: every word of a caption counts, and so does its place. */
import type { Random } from "../../src/util/random.js";

export const SIZES = ["small", "large"] as const;
export const COLOURS = [
  "red",
  "orange",
  "yellow",
  "green",
  "blue",
  "purple",
  "white",
  "black",
] as const;
export const SHAPES = [
  "circle",
  "square",
  "triangle",
  "star",
  "cross",
  "ring",
  "heart",
  "crescent",
] as const;
export const RELATIONS = ["left of", "right of", "above", "below"] as const;

export type Size = (typeof SIZES)[number];
export type Colour = (typeof COLOURS)[number];
export type Shape = (typeof SHAPES)[number];
export type Relation = (typeof RELATIONS)[number];

export interface Thing {
  readonly size: Size;
  readonly colour: Colour;
  readonly shape: Shape;
}

/** `first` is `relation` `second`; their colours differ, and so do their shapes. */
export interface Scene {
  readonly first: Thing;
  readonly relation: Relation;
  readonly second: Thing;
}

/** A scene, all equally likely. */
export function drawScene(stream: Random): Scene {
  const pick = <T>(values: readonly T[]) => values[stream.integer(values.length)]!;
  const other = <T>(values: readonly T[], taken: T) => pick(values.filter((x) => x !== taken));
  const first: Thing = { size: pick(SIZES), colour: pick(COLOURS), shape: pick(SHAPES) };
  const second: Thing = {
    size: pick(SIZES),
    colour: other(COLOURS, first.colour),
    shape: other(SHAPES, first.shape),
  };
  return { first, relation: pick(RELATIONS), second };
}

/** For example "a small red circle left of a large blue square". */
export function captionOf({ first, relation, second }: Scene): string {
  const name = ({ size, colour, shape }: Thing) => `a ${size} ${colour} ${shape}`;
  return `${name(first)} ${relation} ${name(second)}`;
}
