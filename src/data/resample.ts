import type { Rgb } from "./colour.js";
import { KernelMemory } from "./kernels/pixels.js";
import type { Extent, Window } from "./window.js";

/** A picture as pixels. */
export interface Raster extends Extent {
  /** [H, W, 3]: red, green, blue. */
  readonly pixels: Uint8Array;
}

/** Bytes of the picture that are in the kernel's memory at a time: they stay in a core's cache. */
const STRIP_BYTES = 2 ** 18;
/** What the kernel may read or write past the end of pixels. */
const SLACK = 32;

/**
 * A window of a picture, resized to `size` x `size` as Pillow does with `Image.BICUBIC`: an antialiased
 * Catmull-Rom kernel, first along rows, then along columns, with 8 bits in between; weights have 14 bits,
 * where Pillow's have 22, so a value in a few hundred differs from Pillow's by 1. Pixels of the picture just outside of
 * the window count as well, as they do in a picture that is resized first and cropped afterwards.
 *
 * @returns [size, size, 3]; `background` where the window is outside of the picture.
 */
export function resample(
  { pixels, width, height }: Raster,
  window: Window,
  size: number,
  background: Rgb,
): Uint8Array {
  const columns = tapsOf(width, window.x, window.width / size, size);
  const rows = tapsOf(height, window.y, window.height / size, size);
  const result = new Uint8Array(size * size * 3);
  if (columns.count < size || rows.count < size) {
    for (let i = 0; i < result.length; i += 3) result.set(background, i);
  }
  if (columns.count === 0 || rows.count === 0) return result;

  const sourceStride = width * 3;
  const stride = Math.ceil((columns.count * 3) / 16) * 16;
  const top = rows.starts[0]!;
  const bottom = Math.min(height, rows.starts.at(-1)! + 2 * rows.pairs);
  const stripRows = Math.max(1, Math.floor(STRIP_BYTES / sourceStride));
  const memory = new KernelMemory();
  const strip = memory.place(stripRows * sourceStride + columns.pairs * 6 + SLACK);
  const narrow = memory.place((bottom - top + 2 * rows.pairs) * stride + SLACK);
  const squeezed = memory.place(rows.count * stride + SLACK);
  const columnStarts = memory.write(columns.starts.map((start) => start * 3));
  const columnWeights = memory.write(columns.weights);
  const rowStarts = memory.write(rows.starts.map((start) => (start - top) * stride));
  const rowWeights = memory.write(rows.weights);
  const { kernel, bytes } = memory.reserve();

  for (let y = top; y < bottom; y += stripRows) {
    const count = Math.min(stripRows, bottom - y);
    bytes.set(pixels.subarray(y * sourceStride, (y + count) * sourceStride), strip);
    const target = narrow + (y - top) * stride;
    const { count: across, pairs } = columns;
    kernel.across(
      strip,
      sourceStride,
      count,
      target,
      stride,
      across,
      columnStarts,
      columnWeights,
      pairs,
    );
  }
  kernel.down(narrow, squeezed, stride, rows.count, rowStarts, rowWeights, rows.pairs);
  for (let y = 0; y < rows.count; y++) {
    const row = squeezed + y * stride;
    const at = ((rows.first + y) * size + columns.first) * 3;
    result.set(bytes.subarray(row, row + columns.count * 3), at);
  }
  return result;
}

/** Which neighbours each pixel of the result has along an axis, and their weights. */
interface Taps {
  /** Those of the result's pixels that are within the picture: `count` from `first` on. */
  readonly first: number;
  readonly count: number;
  /** [count]: each one's first neighbour. */
  readonly starts: Int32Array;
  /** [count, 2 * pairs]: fixed point, 14 bits after it. */
  readonly weights: Int16Array;
  readonly pairs: number;
}

const ONE = 2 ** 14;

/** Pixel i of the result has its centre at `origin` + (i + 0.5) * `scale` of `length` pixels. */
function tapsOf(length: number, origin: number, scale: number, size: number): Taps {
  const stretch = Math.max(scale, 1);
  const support = 2 * stretch;
  const pairs = Math.ceil(support);
  const first = Math.min(size, Math.max(0, Math.ceil(-origin / scale - 0.5)));
  const end = Math.max(first, Math.min(size, Math.ceil((length - origin) / scale - 0.5)));
  const count = end - first;
  const starts = new Int32Array(count);
  const weights = new Int16Array(count * 2 * pairs);
  const exact = new Float64Array(2 * pairs);
  for (let i = 0; i < count; i++) {
    const centre = origin + (first + i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - support + 0.5));
    const to = Math.min(length, Math.trunc(centre + support + 0.5), from + 2 * pairs);
    let sum = 0;
    for (let k = 0; k < to - from; k++) {
      exact[k] = catmullRom((from + k + 0.5 - centre) / stretch);
      sum += exact[k]!;
    }
    const at = i * 2 * pairs;
    let rest = ONE;
    let middle = at;
    for (let k = 0; k < to - from; k++) {
      const fixed = Math.round((exact[k]! / sum) * ONE);
      weights[at + k] = fixed;
      rest -= fixed;
      if (fixed > weights[middle]!) middle = at + k;
    }
    // What rounding leaves over goes where it shows least, so that plain areas keep their colour.
    weights[middle]! += rest;
    starts[i] = from;
  }
  return { first, count, starts, weights, pairs };
}

/** Keys' cubic convolution with a = -0.5 (IEEE Trans. ASSP 29(6), 1981), as Pillow's. */
function catmullRom(at: number): number {
  const x = Math.abs(at);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}
