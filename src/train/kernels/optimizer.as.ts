// AssemblyScript, compiled to WebAssembly by scripts/build.mjs. Buffers start at multiples of 16 bytes
// and are padded with zeros to whole vectors of four, so no loop needs a tail.

/** Sum of squares of `count` float32 at `pointer`, added up in float64. */
export function sumOfSquares(pointer: usize, count: usize): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  const end = pointer + (count << 2);
  for (; pointer < end; pointer += 16) {
    const values = v128.load(pointer);
    const first = f64x2.promote_low_f32x4(values);
    const second = f64x2.promote_low_f32x4(v128.shuffle<f64>(values, values, 1, 1));
    low = f64x2.add(low, f64x2.mul(first, first));
    high = f64x2.add(high, f64x2.mul(second, second));
  }
  const sum = f64x2.add(low, high);
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}

/**
 * One AdamW update (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), in
 * place: with g the gradient times `scale`,
 *
 *     m += (g - m) * take1
 *     v = v * keep2 + g * g * take2
 *     parameter = parameter * keep - m * stepSize / (sqrt(v) / root2 + epsilon)
 *
 * The caller computes the scalars: V8 would move a division or conversion of scalars into the loop, which
 * makes it six times slower.
 */
export function adamw(
  parameter: usize,
  gradient: usize,
  m: usize,
  v: usize,
  count: usize,
  scale: f32,
  keep: f32,
  take1: f32,
  keep2: f32,
  take2: f32,
  root2: f32,
  epsilon: f32,
  stepSize: f32,
): void {
  const scales = f32x4.splat(scale);
  const keeps = f32x4.splat(keep);
  const takes1 = f32x4.splat(take1);
  const keeps2 = f32x4.splat(keep2);
  const takes2 = f32x4.splat(take2);
  const roots2 = f32x4.splat(root2);
  const epsilons = f32x4.splat(epsilon);
  const stepSizes = f32x4.splat(stepSize);
  const end = parameter + (count << 2);
  for (; parameter < end; parameter += 16) {
    const g = f32x4.mul(v128.load(gradient), scales);
    const m0 = v128.load(m);
    const m1 = f32x4.add(m0, f32x4.mul(takes1, f32x4.sub(g, m0)));
    const v1 = f32x4.add(f32x4.mul(v128.load(v), keeps2), f32x4.mul(f32x4.mul(takes2, g), g));
    const denominator = f32x4.add(f32x4.div(f32x4.sqrt(v1), roots2), epsilons);
    const decayed = f32x4.mul(v128.load(parameter), keeps);
    v128.store(m, m1);
    v128.store(v, v1);
    v128.store(parameter, f32x4.sub(decayed, f32x4.div(f32x4.mul(stepSizes, m1), denominator)));
    gradient += 16;
    m += 16;
    v += 16;
  }
}

/**
 * One update of Lion (Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023), in
 * place: with g the gradient times `scale`,
 *
 *     parameter = parameter * keep - stepSize * sign(m + (g - m) * take1)
 *     m += (g - m) * take2
 */
export function lion(
  parameter: usize,
  gradient: usize,
  m: usize,
  count: usize,
  scale: f32,
  keep: f32,
  take1: f32,
  take2: f32,
  stepSize: f32,
): void {
  const zeros = f32x4.splat(0);
  const scales = f32x4.splat(scale);
  const keeps = f32x4.splat(keep);
  const takes1 = f32x4.splat(take1);
  const takes2 = f32x4.splat(take2);
  const stepSizes = f32x4.splat(stepSize);
  const end = parameter + (count << 2);
  for (; parameter < end; parameter += 16) {
    const m0 = v128.load(m);
    const towards = f32x4.sub(f32x4.mul(v128.load(gradient), scales), m0);
    const direction = f32x4.add(m0, f32x4.mul(takes1, towards));
    const down = v128.and(f32x4.gt(direction, zeros), stepSizes);
    const up = v128.and(f32x4.lt(direction, zeros), stepSizes);
    const decayed = f32x4.mul(v128.load(parameter), keeps);
    v128.store(m, f32x4.add(m0, f32x4.mul(takes2, towards)));
    v128.store(parameter, f32x4.add(f32x4.sub(decayed, down), up));
    gradient += 16;
    m += 16;
  }
}

/** A running mean: `mean += (value - mean) * take`. */
export function average(mean: usize, value: usize, count: usize, take: f32): void {
  const takes = f32x4.splat(take);
  const end = mean + (count << 2);
  for (; mean < end; mean += 16) {
    const old = v128.load(mean);
    v128.store(mean, f32x4.add(old, f32x4.mul(takes, f32x4.sub(v128.load(value), old))));
    value += 16;
  }
}
