/** Pictures of scenes. Backgrounds, light and grain vary, so that they take as many bytes as photographs. */
import type { Random } from "../../src/util/random.js";
import type { Colour, Relation, Scene, Shape, Size, Thing } from "./scene.js";

type Rgb = readonly [number, number, number];

const PAINT: Readonly<Record<Colour, Rgb>> = {
  red: [215, 40, 40],
  orange: [240, 135, 25],
  yellow: [245, 220, 60],
  green: [40, 160, 70],
  blue: [45, 85, 215],
  purple: [145, 60, 175],
  white: [242, 242, 242],
  black: [25, 25, 25],
};

/** Least and greatest radius, as parts of the picture's width. */
const RADIUS: Readonly<Record<Size, readonly [number, number]>> = {
  small: [0.11, 0.14],
  large: [0.19, 0.23],
};

/** Whether the first thing's coordinate along the axis is the smaller one. */
const PLACE: Readonly<Record<Relation, { axis: 0 | 1; before: boolean }>> = {
  "left of": { axis: 0, before: true },
  "right of": { axis: 0, before: false },
  above: { axis: 1, before: true },
  below: { axis: 1, before: false },
};

/** Things turn by no more than this, in radians: a square stays one. */
const TURN = 0.25;
/** How far two things may be off the axis of their relation, as a part of the width. */
const OFF_AXIS = 0.12;

/** Distance to a shape's outline at (x, y), in its radius; negative inside. y points down. */
const outlines: Readonly<Record<Shape, (x: number, y: number) => number>> = {
  circle: (x, y) => Math.hypot(x, y) - 1,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - 0.82,
  triangle: (x, y) => Math.max(y - 0.6, Math.abs(x) * 0.866 - y * 0.5 - 0.6),
  star: (x, y) => {
    // Folded onto one half of a point, whose edge runs from the tip (0, 1) to a corner at 36 degrees.
    const sector = (2 * Math.PI) / 5;
    const angle = Math.atan2(x, -y);
    const folded = Math.abs(angle - sector * Math.round(angle / sector));
    const radius = Math.hypot(x, y);
    const [cornerX, cornerY] = [0.42 * Math.sin(sector / 2), 0.42 * Math.cos(sector / 2)];
    const [edgeX, edgeY] = [cornerX, cornerY - 1];
    const across = radius * Math.sin(folded) * -edgeY + (radius * Math.cos(folded) - 1) * edgeX;
    return across / Math.hypot(edgeX, edgeY);
  },
  cross: (x, y) => {
    const [a, b] = [Math.abs(x), Math.abs(y)];
    return Math.min(Math.max(a - 0.3, b - 0.95), Math.max(a - 0.95, b - 0.3));
  },
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.78) - 0.2,
  heart: (x, y) => {
    // Two lobes, and a wedge that touches them from the tip at (0, 0.9).
    const a = Math.abs(x);
    const lobe = Math.hypot(a - 0.41, y + 0.27) - 0.5;
    const wedge = Math.max(a * 0.73 + (y - 0.9) * 0.683, -y - 0.27);
    return Math.min(lobe, wedge);
  },
  crescent: (x, y) => Math.max(Math.hypot(x, y) - 1, 0.85 - Math.hypot(x - 0.5, y)),
};

/** Colour of the background at (x, y), each 0 to 1: 0 and 1 are its two tones. */
type Pattern = (x: number, y: number) => number;

const patterns: readonly ((stream: Random) => Pattern)[] = [
  () => () => 0,
  (stream) => {
    const angle = stream.between(0, 2 * Math.PI);
    const [dx, dy] = [Math.cos(angle) / 1.5, Math.sin(angle) / 1.5];
    return (x, y) => 0.5 + (x - 0.5) * dx + (y - 0.5) * dy;
  },
  (stream) => {
    const angle = stream.between(0, 2 * Math.PI);
    const waves = 2 * Math.PI * stream.between(3, 9);
    const [dx, dy] = [Math.cos(angle) * waves, Math.sin(angle) * waves];
    return (x, y) => 0.5 + 0.5 * Math.sin(x * dx + y * dy);
  },
  (stream) => {
    const fields = 3 + stream.integer(5);
    return (x, y) => (Math.floor(x * fields) + Math.floor(y * fields)) & 1;
  },
  (stream) => clouds(stream),
];

/** Random heights at the corners of a grid, and lines between. */
function clouds(stream: Random): Pattern {
  const fields = 6;
  const heights = Float32Array.from({ length: (fields + 1) ** 2 }, () => stream.uniform());
  return (x, y) => {
    const [column, row] = [Math.floor(x * fields), Math.floor(y * fields)];
    const [u, v] = [x * fields - column, y * fields - row];
    const at = row * (fields + 1) + column;
    const above = heights[at]! * (1 - u) + heights[at + 1]! * u;
    const below = heights[at + fields + 1]! * (1 - u) + heights[at + fields + 2]! * u;
    return above * (1 - v) + below * v;
  };
}

/**
 * Paints a scene: where its things stand, their light, the background and the grain are drawn from
 * `stream`.
 *
 * @returns [H, W, 3], 8 bits a channel, H = W = size.
 */
export function paint(scene: Scene, size: number, stream: Random): Uint8Array {
  const pixels = new Uint8ClampedArray(size * size * 3);
  paintBackground(pixels, size, stream);
  const places = place(scene, stream);
  paintThing(pixels, size, scene.first, places[0], stream);
  paintThing(pixels, size, scene.second, places[1], stream);
  addGrain(pixels, stream);
  return new Uint8Array(pixels.buffer);
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
}

/** Where the things stand: apart along the axis of their relation, and about level across it. */
function place({ first, relation, second }: Scene, stream: Random): [Place, Place] {
  const { axis, before } = PLACE[relation];
  const radii = [first, second].map((thing) => stream.between(...RADIUS[thing.size]));
  const [near, far] = before ? [0, 1] : [1, 0];
  const free = 1 - 2 * (radii[0]! + radii[1]!);
  // The free space lies before, between and behind them, in random parts.
  const cuts = [stream.uniform() * free, stream.uniform() * free].sort((a, b) => a - b);
  const along: number[] = [];
  along[near] = cuts[0]! + radii[near]!;
  along[far] = cuts[1]! + 2 * radii[near]! + radii[far]!;
  const within = (value: number, radius: number) => Math.min(Math.max(value, radius), 1 - radius);
  const level = stream.uniform();
  return [0, 1].map((i): Place => {
    const radius = radii[i]!;
    const across = within(level + stream.between(-OFF_AXIS, OFF_AXIS), radius);
    return axis === 0 ? { x: along[i]!, y: across, radius } : { x: across, y: along[i]!, radius };
  }) as [Place, Place];
}

function paintBackground(pixels: Uint8ClampedArray, size: number, stream: Random): void {
  // Greyish and neither light nor dark: no thing's colour is near.
  const tone = () => {
    const grey = stream.between(95, 165);
    return [0, 1, 2].map(() => grey + stream.between(-18, 18));
  };
  const [from, to] = [tone(), tone()];
  const pattern = patterns[stream.integer(patterns.length)]!(stream);
  for (let row = 0, at = 0; row < size; row++) {
    const y = (row + 0.5) / size;
    for (let column = 0; column < size; column++) {
      const part = pattern((column + 0.5) / size, y);
      for (let c = 0; c < 3; c++) pixels[at++] = from[c]! + (to[c]! - from[c]!) * part;
    }
  }
}

function paintThing(
  pixels: Uint8ClampedArray,
  size: number,
  { shape, colour }: Thing,
  { x, y, radius }: Place,
  stream: Random,
): void {
  const outline = outlines[shape];
  const turn = stream.between(-TURN, TURN);
  const [cos, sin] = [Math.cos(turn) / radius, Math.sin(turn) / radius];
  const rgb = PAINT[colour].map((value) => value + stream.between(-15, 15));
  // Light falls from a side.
  const light = stream.between(0, 2 * Math.PI);
  const [lightX, lightY] = [Math.cos(light) * 14, Math.sin(light) * 14];
  const pixelsOfRadius = radius * size;
  const first = (centre: number) => Math.max(0, Math.floor((centre - radius) * size) - 1);
  const last = (centre: number) => Math.min(size, Math.ceil((centre + radius) * size) + 1);
  for (let row = first(y); row < last(y); row++) {
    for (let column = first(x); column < last(x); column++) {
      const [dx, dy] = [(column + 0.5) / size - x, (row + 0.5) / size - y];
      const [u, v] = [dx * cos + dy * sin, dy * cos - dx * sin];
      const covered = Math.min(1, Math.max(0, 0.5 - outline(u, v) * pixelsOfRadius));
      if (covered === 0) continue;
      const shade = u * lightX + v * lightY;
      const at = 3 * (row * size + column);
      for (let c = 0; c < 3; c++) {
        const before = pixels[at + c]!;
        pixels[at + c] = before + (rgb[c]! + shade - before) * covered;
      }
    }
  }
}

/** Grey noise, a byte of the stream a pixel. */
function addGrain(pixels: Uint8ClampedArray, stream: Random): void {
  const strength = stream.between(5, 25) / 255;
  const noises = Float32Array.from({ length: 256 }, (_, byte) => (byte - 127.5) * strength);
  for (let at = 0; at < pixels.length; ) {
    const word = stream.uint32();
    for (let byte = 0; byte < 32 && at < pixels.length; byte += 8) {
      const noise = noises[(word >>> byte) & 255]!;
      for (let c = 0; c < 3; c++) pixels[at++]! += noise;
    }
  }
}
