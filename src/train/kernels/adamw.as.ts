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
 * place. Scalars are computed in float64 and rounded to float32 once, as PyTorch does.
 */
export function adamw(
  parameter: usize,
  gradient: usize,
  m: usize,
  v: usize,
  count: usize,
  learningRate: f64,
  beta1: f64,
  beta2: f64,
  epsilon: f64,
  weightDecay: f64,
  biasCorrection1: f64,
  biasCorrection2: f64,
  gradientScale: f64,
): void {
  const scale = f32x4.splat(<f32>gradientScale);
  const keep = f32x4.splat(<f32>(1 - learningRate * weightDecay));
  const take1 = f32x4.splat(<f32>(1 - beta1));
  const keep2 = f32x4.splat(<f32>beta2);
  const take2 = f32x4.splat(<f32>(1 - beta2));
  const root2 = f32x4.splat(<f32>Math.sqrt(biasCorrection2));
  const small = f32x4.splat(<f32>epsilon);
  const stride = f32x4.splat(<f32>(learningRate / biasCorrection1));
  const end = parameter + (count << 2);
  for (; parameter < end; parameter += 16) {
    const g = f32x4.mul(v128.load(gradient), scale);
    const m0 = v128.load(m);
    const m1 = f32x4.add(m0, f32x4.mul(take1, f32x4.sub(g, m0)));
    const v1 = f32x4.add(f32x4.mul(v128.load(v), keep2), f32x4.mul(f32x4.mul(take2, g), g));
    const denominator = f32x4.add(f32x4.div(f32x4.sqrt(v1), root2), small);
    const decayed = f32x4.mul(v128.load(parameter), keep);
    v128.store(m, m1);
    v128.store(v, v1);
    v128.store(parameter, f32x4.sub(decayed, f32x4.div(f32x4.mul(stride, m1), denominator)));
    gradient += 16;
    m += 16;
    v += 16;
  }
}
