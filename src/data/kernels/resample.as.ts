// AssemblyScript, compiled to WebAssembly by scripts/build.mjs. Pixels are red, green and blue bytes.
// Weights are 16-bit fixed-point numbers with 14 bits after the point, taken two at a time; an odd one
// out has a partner of weight 0, so what a pair reads past the end counts for nothing.

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
