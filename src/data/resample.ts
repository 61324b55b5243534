import type { Rgb } from "./colour.js";
import { type ResampleKernel, resampleKernel } from "./kernels/resample.js";
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
  const memory = new Layout();
  const strip = memory.place(stripRows * sourceStride + columns.pairs * 6 + SLACK);
  const narrow = memory.place((bottom - top + 2 * rows.pairs) * stride + SLACK);
  const squeezed = memory.place(rows.count * stride + SLACK);
  const columnStarts = memory.place(columns.count * 4);
  const columnWeights = memory.place(columns.weights.byteLength);
  const rowStarts = memory.place(rows.count * 4);
  const rowWeights = memory.place(rows.weights.byteLength);
  const { kernel, bytes } = memory.reserve();
  const write = (pointer: number, array: Int32Array | Int16Array) =>
    bytes.set(new Uint8Array(array.buffer), pointer);
  write(
    columnStarts,
    columns.starts.map((start) => start * 3),
  );
  write(columnWeights, columns.weights);
  write(
    rowStarts,
    rows.starts.map((start) => (start - top) * stride),
  );
  write(rowWeights, rows.weights);

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
  for (let i = 0; i < count; i++) {
    const centre = origin + (first + i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - support + 0.5));
    const to = Math.min(length, Math.trunc(centre + support + 0.5), from + 2 * pairs);
    const exact = Array.from({ length: to - from }, (_, k) =>
      catmullRom((from + k + 0.5 - centre) / stretch),
    );
    const sum = exact.reduce((a, b) => a + b, 0);
    const fixed = weights.subarray(i * 2 * pairs, (i + 1) * 2 * pairs);
    let rest = ONE;
    let middle = 0;
    for (const [k, weight] of exact.entries()) {
      fixed[k] = Math.round((weight / sum) * ONE);
      rest -= fixed[k]!;
      if (fixed[k]! > fixed[middle]!) middle = k;
    }
    // What rounding leaves over goes where it shows least, so that plain areas keep their colour.
    fixed[middle]! += rest;
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

const PAGE = 2 ** 16;
let shared: { memory: WebAssembly.Memory; kernel: ResampleKernel } | undefined;

/** Places for arrays in the memory of the thread's kernel, which grows to the largest asked for. */
class Layout {
  #end = 0;

  /** A multiple of 16. */
  place(byteLength: number): number {
    const start = this.#end;
    this.#end = start + Math.ceil(byteLength / 16) * 16;
    return start;
  }

  /** The kernel and its memory, as large as what was placed. */
  reserve(): { kernel: ResampleKernel; bytes: Uint8Array } {
    if (shared === undefined) {
      const memory = new WebAssembly.Memory({ initial: 1 });
      shared = { memory, kernel: resampleKernel(memory) };
    }
    const { memory, kernel } = shared;
    const missing = this.#end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return { kernel, bytes: new Uint8Array(memory.buffer) };
  }
}
