import type { Random } from "../util/random.js";
import { blur } from "./blur.js";
import { LUMA, lumaOf, type Rgb, WHITE } from "./colour.js";
import { KernelMemory } from "./kernels/pixels.js";

/** How pixels are laid out and normalised. */
export interface PixelFormat {
  /** Height and width, in pixels. */
  readonly size: number;
  readonly channels: 1 | 3;
  /** Per channel, of values in 0 to 1. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Of what a moved picture uncovers. Default: white. */
  readonly background?: Rgb;
}

/** Random changes to a picture; each is off unless given. */
export interface AugmentOptions {
  /**
   * Random resized crop of the whole picture, at its own resolution, before all else: least and most of
   * the area kept, each in (0, 1]; the aspect ratio is 3:4 to 4:3. PictureLoader makes it.
   */
  readonly crop?: readonly [number, number] | undefined;
  /** Greatest turn either way, in degrees, 0 to 180. */
  readonly rotate?: number | undefined;
  /** Greatest shift along each axis, as a fraction of the size, 0 to 1. */
  readonly translate?: number | undefined;
  /** Least and greatest magnification, each above 0. */
  readonly scale?: readonly [number, number] | undefined;
  /** Probability of mirroring left and right. */
  readonly flip?: number | undefined;
  /**
   * Greatest relative change of brightness, contrast (about mid-grey) and saturation, each 0 to 1; and
   * of hue as a fraction of the colour circle, 0 to 0.5.
   */
  readonly colour?:
    | {
        /** Probability of changing colours at all; default 1. */
        readonly probability?: number | undefined;
        readonly brightness?: number | undefined;
        readonly contrast?: number | undefined;
        readonly saturation?: number | undefined;
        readonly hue?: number | undefined;
      }
    | undefined;
  /** Probability of taking all colour away. */
  readonly greyscale?: number | undefined;
  /** Gaussian blur of the result. */
  readonly blur?:
    | {
        /** Probability of blurring; default 1. */
        readonly probability?: number | undefined;
        /** Least and greatest standard deviation, in pixels, each above 0. */
        readonly sigma: readonly [number, number];
        /** How many pixels the kernel reaches each way; default three standard deviations. */
        readonly radius?: number | undefined;
      }
    | undefined;
}

/**
 * The changes that x-clip makes to the views of visual self-supervision, in its strengths; here each
 * picture draws its own.
 */
export const sslAugmentation: AugmentOptions = {
  crop: [0.08, 1],
  flip: 0.5,
  colour: { probability: 0.3, brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2 },
  greyscale: 0.2,
  blur: { probability: 0.2, sigma: [1, 2], radius: 1 },
};

const UNCHANGED = {
  map: [1, 0, 0, 0, 1, 0],
  matrix: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  offset: 0,
} as const;

/** Writes (v / 255 - mean) / std of `pixels` [H, W, C] to `out` [C, H, W]. */
export function normaliseInto(out: Float32Array, pixels: Uint8Array, format: PixelFormat): void {
  changeInto(out, pixels, format, UNCHANGED);
}

/**
 * Like {@link normaliseInto}, of a randomly changed picture; `crop` is left out, for it needs the whole
 * picture. All geometry is one affine map, sampled bilinearly, and all colour one linear map, so the cost
 * is a single pass whatever the options, save blur, which has its own. The same stream of random numbers
 * gives the same result.
 */
export function augmentInto(
  out: Float32Array,
  pixels: Uint8Array,
  format: PixelFormat,
  options: AugmentOptions,
  random: Random,
): void {
  const map = drawGeometry(options, format.size, random);
  const colour = drawColour(options, format.channels, random);
  const blurred = drawBlur(options, random);
  changeInto(out, pixels, format, { map, ...colour });
  // A mean of normalised values is the mean normalised, so that blur may come last.
  if (blurred) blur(out, format.size, blurred.sigma, blurred.radius);
}

/** Moves and tints a picture, and normalises it. */
function changeInto(
  out: Float32Array,
  pixels: Uint8Array,
  format: PixelFormat,
  {
    map,
    matrix,
    offset,
  }: { readonly map: Affine; readonly matrix: Matrix; readonly offset: number },
): void {
  const { size, channels } = format;
  const area = size * size;
  const normalisers = [0, 1, 2].map((c) => normaliser(format, channels === 3 ? c : 0));
  const tint = Float32Array.of(
    ...matrix,
    ...[offset, offset, offset],
    ...normalisers.map(({ factor }) => factor),
    ...normalisers.map(({ shift }) => shift),
  );
  // Rows are worked off in vectors of four.
  const plane = area * 4 + 16;
  const memory = new KernelMemory();
  const place = memory.write(Float64Array.from(map));
  const source = memory.write(pixels);
  const fill = memory.write(Float32Array.from(backgroundOf(format)));
  const tints = memory.write(tint);
  const row = memory.place(3 * (size + 3) * 4);
  const target = memory.place(3 * plane);
  const { kernel, bytes } = memory.reserve();
  kernel.change(source, size, channels, place, fill, tints, row, target, plane);
  for (let c = 0; c < channels; c++) {
    out.set(new Float32Array(bytes.buffer, target + c * plane, area), c * area);
  }
}

/** (v / 255 - mean) / std as v * factor + shift. */
function normaliser({ mean, std }: PixelFormat, channel: number) {
  return { factor: 1 / (255 * std[channel]!), shift: -mean[channel]! / std[channel]! };
}

function backgroundOf({ channels, background = WHITE }: PixelFormat): Rgb {
  if (channels === 3) return background;
  const grey = lumaOf(...background);
  return [grey, grey, grey];
}

/** An affine map from the place of a pixel of the result to its place in the picture: two rows of x, y, 1. */
type Affine = readonly [number, number, number, number, number, number];

function drawGeometry(options: AugmentOptions, size: number, random: Random): Affine {
  const { rotate = 0, translate = 0, scale = [1, 1], flip = 0 } = options;
  const angle = (random.between(-rotate, rotate) * Math.PI) / 180;
  const shiftX = random.between(-translate, translate) * size;
  const shiftY = random.between(-translate, translate) * size;
  const zoom = random.between(...scale);
  const mirror = random.uniform() < flip ? -1 : 1;

  // From the result back to the picture, about the centre: undo mirror, shift, turn and zoom.
  const cos = Math.cos(angle) / zoom;
  const sin = Math.sin(angle) / zoom;
  const centre = (size - 1) / 2;
  const x0 = centre - cos * mirror * centre - sin * centre - (cos * shiftX + sin * shiftY);
  const y0 = centre + sin * mirror * centre - cos * centre - (cos * shiftY - sin * shiftX);
  return [cos * mirror, sin, x0, -sin * mirror, cos, y0];
}

/** How strongly to blur, if at all. */
function drawBlur(
  options: AugmentOptions,
  random: Random,
): { sigma: number; radius: number } | undefined {
  if (options.blur === undefined) return undefined;
  const { probability = 1, sigma: range, radius } = options.blur;
  const sigma = random.between(...range);
  if (random.uniform() >= probability) return undefined;
  return { sigma, radius: radius ?? Math.ceil(3 * sigma) };
}

type Matrix = readonly [number, number, number, number, number, number, number, number, number];

/** A map of colours in 0 to 255: a 3 x 3 matrix by rows, and what is added to each channel. */
function drawColour(
  options: AugmentOptions,
  channels: 1 | 3,
  random: Random,
): { matrix: Matrix; offset: number } {
  const { brightness = 0, contrast = 0, saturation = 0, hue = 0 } = options.colour ?? {};
  const drawn = {
    light: random.between(1 - brightness, 1 + brightness),
    spread: random.between(1 - contrast, 1 + contrast),
    saturation: random.between(1 - saturation, 1 + saturation),
    grey: random.uniform() < (options.greyscale ?? 0),
    turn: random.between(-hue, hue) * 2 * Math.PI,
  };
  const changes = random.uniform() < (options.colour?.probability ?? 1);
  const { light, spread, turn } = changes ? drawn : { light: 1, spread: 1, turn: 0 };
  const vividness = drawn.grey ? 0 : changes ? drawn.saturation : 1;
  const gain = light * spread;
  const offset = 127.5 * (1 - spread);
  if (channels === 1) return { matrix: [gain, 0, 0, 0, gain, 0, 0, 0, gain], offset };

  // Hue turns about the grey axis, and saturation mixes with luma; both keep greys, as rows sum to 1.
  const cos = Math.cos(turn);
  const third = (1 - cos) / 3;
  const swing = Math.sin(turn) / Math.sqrt(3);
  const [same, before, after] = [cos + third, third - swing, third + swing];
  const mix = (turned: number, luma: number) =>
    gain * (luma * (1 - vividness) + turned * vividness);
  const [r, g, b] = LUMA;
  const matrix: Matrix = [
    ...([mix(same, r), mix(before, g), mix(after, b)] as const),
    ...([mix(after, r), mix(same, g), mix(before, b)] as const),
    ...([mix(before, r), mix(after, g), mix(same, b)] as const),
  ];
  return { matrix, offset };
}
