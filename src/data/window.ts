import type { Random } from "../util/random.js";

/** A part of a picture, in its pixels; it may reach beyond the picture. */
export interface Window {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Height and width, in pixels. */
export interface Extent {
  readonly width: number;
  readonly height: number;
}

/** See {@link DecodeOptions}. */
export type Fit = "cover" | "contain";

/** Random crops have aspect ratios from this to its inverse, as is usual. */
const LEAST_RATIO = 3 / 4;

/**
 * The part of a picture that becomes `size` x `size` pixels. For "cover" it is what remains when the
 * picture is resized and its centre cut out to the whole pixels that torchvision's `Resize` and
 * `CenterCrop` choose; for "contain" all of it, with equal margins.
 */
export function centreWindow({ width, height }: Extent, size: number, fit: Fit): Window {
  const short = Math.min(width, height);
  const long = Math.max(width, height);
  const resized = (side: number) => {
    if (fit === "contain") return Math.max(1, Math.round((size * side) / long));
    return Math.floor((size * side) / short);
  };
  const alongAxis = (side: number) => {
    const whole = resized(side);
    const start = fit === "contain" ? -Math.floor((size - whole) / 2) : halfEven(whole - size);
    return { start: (start * side) / whole, length: (size * side) / whole };
  };
  const across = alongAxis(width);
  const down = alongAxis(height);
  return { x: across.start, y: down.start, width: across.length, height: down.length };
}

/** Half of a whole number, rounded to even as Python's `round` does. */
function halfEven(twice: number): number {
  const half = twice / 2;
  return Number.isInteger(half) ? half : 2 * Math.round(half / 2);
}

/**
 * A random resized crop: a part of the picture, of the square around it for "contain", with an area
 * between `least` and `most` of the whole and an aspect ratio of 3:4 to 4:3, anywhere. Where no such part
 * fits into a very long picture, it is the largest one of the nearest ratio.
 */
export function drawWindow(
  { width, height }: Extent,
  fit: Fit,
  [least, most]: readonly [number, number],
  random: Random,
): Window {
  const long = Math.max(width, height);
  const canvas = fit === "contain" ? { width: long, height: long } : { width, height };
  const kept = random.between(least, most);
  const whole = canvas.width / canvas.height;
  // The bounds keep both sides of the crop within the canvas.
  const low = Math.max(LEAST_RATIO, kept * whole);
  const high = Math.min(1 / LEAST_RATIO, whole / kept);
  const drawn = Math.exp(random.between(Math.log(low), Math.log(high)));
  const ratio = low <= high ? drawn : Math.max(LEAST_RATIO, Math.min(whole, 1 / LEAST_RATIO));
  const area =
    low <= high
      ? kept * canvas.width * canvas.height
      : Math.min(canvas.width ** 2 / ratio, canvas.height ** 2 * ratio);
  const crop = { width: Math.sqrt(area * ratio), height: Math.sqrt(area / ratio) };
  return {
    x: random.uniform() * (canvas.width - crop.width) - (canvas.width - width) / 2,
    y: random.uniform() * (canvas.height - crop.height) - (canvas.height - height) / 2,
    ...crop,
  };
}
