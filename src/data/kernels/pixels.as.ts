// AssemblyScript, compiled to WebAssembly by scripts/build.mjs.

// Resampling: pixels are red, green and blue bytes. Weights are 16-bit fixed-point numbers with 14 bits
// after the point, taken two at a time; an odd one out has a partner of weight 0, so what a pair reads past
// the end counts for nothing.

const PRECISION = 14;

/**
 * Weighted sums of neighbours in a row: of every one of `rows` rows of `source`, `count` pixels of
 * `target`. Pixel i adds up 2 * `pairs` neighbours from byte `starts[i]` of the row on.
 */
export function across(
  source: usize,
  sourceStride: usize,
  rows: i32,
  target: usize,
  targetStride: usize,
  count: i32,
  starts: usize,
  weights: usize,
  pairs: i32,
): void {
  // Two pixels as 16-bit numbers, side by side what is multiplied together: R R, G G, B B.
  const spread = i8x16(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
  const half = i32x4.splat(1 << (PRECISION - 1));
  for (let y = 0; y < rows; y++) {
    let weight = weights;
    let out = target;
    for (let x = 0; x < count; x++) {
      let pixel = source + load<u32>(starts + (x << 2));
      let sum = half;
      for (let pair = 0; pair < pairs; pair++) {
        const two = v128.swizzle(v128.load64_zero(pixel), spread);
        sum = i32x4.add(sum, i32x4.dot_i16x8_s(two, v128.load32_splat(weight)));
        pixel += 6;
        weight += 4;
      }
      sum = i32x4.shr_s(sum, PRECISION);
      const words = i16x8.narrow_i32x4_s(sum, sum);
      // The fourth byte is the next pixel's, which comes after.
      store<u32>(out, i32x4.extract_lane(i8x16.narrow_i16x8_u(words, words), 0));
      out += 3;
    }
    source += sourceStride;
    target += targetStride;
  }
}

/**
 * Weighted sums of neighbours in a column: `count` rows of `target`, each of `stride` bytes. Row i adds
 * up 2 * `pairs` rows of `source` from byte `starts[i]` on.
 */
export function down(
  source: usize,
  target: usize,
  stride: usize,
  count: i32,
  starts: usize,
  weights: usize,
  pairs: i32,
): void {
  const half = i32x4.splat(1 << (PRECISION - 1));
  for (let y = 0; y < count; y++) {
    const row = source + load<u32>(starts + (y << 2));
    for (let x: usize = 0; x < stride; x += 16) {
      let upper = row + x;
      let weight = weights;
      let first = half;
      let second = half;
      let third = half;
      let fourth = half;
      for (let pair = 0; pair < pairs; pair++) {
        const a = v128.load(upper);
        const b = v128.load(upper + stride);
        const both = v128.load32_splat(weight);
        const left = v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        const right = v128.shuffle<i8>(
          a,
          b,
          8,
          24,
          9,
          25,
          10,
          26,
          11,
          27,
          12,
          28,
          13,
          29,
          14,
          30,
          15,
          31,
        );
        first = i32x4.add(first, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(left), both));
        second = i32x4.add(second, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(left), both));
        third = i32x4.add(third, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(right), both));
        fourth = i32x4.add(fourth, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(right), both));
        upper += stride << 1;
        weight += 4;
      }
      const low = i16x8.narrow_i32x4_s(
        i32x4.shr_s(first, PRECISION),
        i32x4.shr_s(second, PRECISION),
      );
      const high = i16x8.narrow_i32x4_s(
        i32x4.shr_s(third, PRECISION),
        i32x4.shr_s(fourth, PRECISION),
      );
      v128.store(target + x, i8x16.narrow_i16x8_u(low, high));
    }
    target += stride;
    weights += pairs << 2;
  }
}

// Changing.

// One row as it is sampled: red, green and blue apart, each padded to whole vectors of four.
let row: usize = 0;
let pitch: usize = 0;

/**
 * A picture, bytes [size, size, channels] with 16 more on either side, as float32 [channels, size, size],
 * each channel `plane` bytes after the other, with room for three numbers more: sampled bilinearly where the
 * affine map `place` (float64: two rows of x, y, 1) puts each pixel of the result, or `fill` (float32: red,
 * green, blue) outside of the picture; then colours are changed and normalised. `tint` is float32: a 3 x 3
 * matrix by rows, what is added to each channel, then each channel's factor and shift, after values are kept
 * within 0 to 255. `scratch` has room for a row.
 *
 * Grey goes the way of colour, with its one channel three times; only the first comes out.
 */
export function change(
  source: usize,
  size: i32,
  channels: i32,
  place: usize,
  fill: usize,
  tint: usize,
  scratch: usize,
  target: usize,
  plane: usize,
): void {
  row = scratch;
  pitch = (((<usize>size + 3) >> 2) << 2) * 4;
  const still = isWhole(place, size);
  for (let y = 0; y < size; y++) {
    if (still) copyRow(source, size, channels, y, load<f64>(place) < 0);
    else sampleRow(source, size, channels, place, fill, y);
    for (let c = 0; c < channels; c++) {
      tintRow(tint, c, size, target + <usize>c * plane + <usize>(y * size) * 4);
    }
  }
}

/** Whether nothing is moved, or mirrored alone. */
function isWhole(place: usize, size: i32): bool {
  const xx = load<f64>(place);
  const start = xx < 0 ? <f64>(size - 1) : 0;
  return (
    abs(xx) === 1 &&
    load<f64>(place, 8) === 0 &&
    load<f64>(place, 16) === start &&
    load<f64>(place, 24) === 0 &&
    load<f64>(place, 32) === 1 &&
    load<f64>(place, 40) === 0
  );
}

function put(x: i32, red: f32, green: f32, blue: f32): void {
  const at = row + ((<usize>x) << 2);
  store<f32>(at, red);
  store<f32>(at + pitch, green);
  store<f32>(at + 2 * pitch, blue);
}

function copyRow(source: usize, size: i32, channels: i32, y: i32, mirrored: bool): void {
  const step = mirrored ? -channels : channels;
  let from = source + <usize>((y * size + (mirrored ? size - 1 : 0)) * channels);
  if (channels === 1) {
    for (let x = 0; x < size; x++) {
      const grey = <f32>load<u8>(from);
      put(x, grey, grey, grey);
      from += step;
    }
    return;
  }
  // Four pixels at a time, the last of a mirrored row first; what is past the row's ends is not looked at.
  if (mirrored) from -= 9;
  const red = mirrored
    ? i8x16(9, -1, -1, -1, 6, -1, -1, -1, 3, -1, -1, -1, 0, -1, -1, -1)
    : i8x16(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1);
  const green = i8x16.add(red, i32x4.splat(1));
  const blue = i8x16.add(red, i32x4.splat(2));
  const end = row + ((<usize>size) << 2);
  for (let at = row; at < end; at += 16) {
    const four = v128.load(from);
    v128.store(at, f32x4.convert_i32x4_s(v128.swizzle(four, red)));
    v128.store(at + pitch, f32x4.convert_i32x4_s(v128.swizzle(four, green)));
    v128.store(at + 2 * pitch, f32x4.convert_i32x4_s(v128.swizzle(four, blue)));
    from += 4 * step;
  }
}

function sampleRow(
  source: usize,
  size: i32,
  channels: i32,
  place: usize,
  fill: usize,
  y: i32,
): void {
  const g = channels === 3 ? 1 : 0;
  const b = channels === 3 ? 2 : 0;
  const stride = size * channels;
  const last = size - 1;
  const xx = load<f64>(place);
  const yx = load<f64>(place, 24);
  const x0 = load<f64>(place, 8) * y + load<f64>(place, 16);
  const y0 = load<f64>(place, 32) * y + load<f64>(place, 40);
  for (let x = 0; x < size; x++) {
    const sx = xx * x + x0;
    const sy = yx * x + y0;
    // Pixel centres lie at whole numbers, so the picture reaches half a pixel further.
    if (!(sx >= -0.5 && sy >= -0.5 && sx <= <f64>last + 0.5 && sy <= <f64>last + 0.5)) {
      put(x, load<f32>(fill), load<f32>(fill, 4), load<f32>(fill, 8));
      continue;
    }
    const cx = max(0, min(sx, <f64>last));
    const cy = max(0, min(sy, <f64>last));
    const left = <i32>floor(cx);
    const top = <i32>floor(cy);
    const fx = <f32>(cx - <f64>left);
    const fy = <f32>(cy - <f64>top);
    const p00 = source + <usize>(top * stride + left * channels);
    const p01 = left < last ? p00 + channels : p00;
    const down = top < last ? stride : 0;
    const p10 = p00 + down;
    const p11 = p01 + down;
    put(
      x,
      mix(p00, p01, p10, p11, fx, fy),
      mix(p00 + g, p01 + g, p10 + g, p11 + g, fx, fy),
      mix(p00 + b, p01 + b, p10 + b, p11 + b, fx, fy),
    );
  }
}

function mix(p00: usize, p01: usize, p10: usize, p11: usize, fx: f32, fy: f32): f32 {
  const upper = <f32>load<u8>(p00) * (1 - fx) + <f32>load<u8>(p01) * fx;
  const lower = <f32>load<u8>(p10) * (1 - fx) + <f32>load<u8>(p11) * fx;
  return upper * (1 - fy) + lower * fy;
}

/** One channel of the sampled row; what is written past its end is the next row's, which comes after. */
function tintRow(tint: usize, c: i32, size: i32, out: usize): void {
  const weights = tint + <usize>c * 12;
  const red = v128.load32_splat(weights);
  const green = v128.load32_splat(weights, 4);
  const blue = v128.load32_splat(weights, 8);
  const offset = v128.load32_splat(tint + 36 + <usize>c * 4);
  const factor = v128.load32_splat(tint + 48 + <usize>c * 4);
  const shift = v128.load32_splat(tint + 60 + <usize>c * 4);
  const least = f32x4.splat(0);
  const most = f32x4.splat(255);
  const end = row + ((<usize>size) << 2);
  for (let at = row; at < end; at += 16) {
    const sum = f32x4.add(
      f32x4.add(f32x4.mul(red, v128.load(at)), f32x4.mul(green, v128.load(at + pitch))),
      f32x4.add(f32x4.mul(blue, v128.load(at + 2 * pitch)), offset),
    );
    const kept = f32x4.pmax(f32x4.pmin(sum, most), least);
    v128.store(out, f32x4.add(f32x4.mul(kept, factor), shift));
    out += 16;
  }
}
