/** Bounds on the difference from x-clip. */
export const tolerances = {
  /** Absolute, on losses. */
  loss: 2e-6,
  /** Absolute, on losses that SimCLR is part of. */
  simclrLoss: 1e-5,
  /** Absolute, on every value of a training's loss curve. */
  lossCurve: 1e-5,
  /** Absolute, on parameters after a training. */
  finalParameters: 5e-5,
  /** Of a gradient's largest magnitude, ... */
  gradient: 1e-4,
  /** ... plus this, absolute. */
  gradientFloor: 1e-6,
  /** Absolute, on latents and similarities. */
  latents: 5e-6,
  /** Of an output's largest magnitude or 1, on encodings and module outputs. */
  output: 1e-5,
} as const;

/** How far one quantity is from x-clip's, as a part of what is allowed. */
export interface Difference {
  readonly kind: "loss" | "gradient" | "output";
  readonly name: string;
  /** Loss and outputs: absolute; gradients: relative to the tensor's largest magnitude. */
  readonly error: number;
  readonly allowed: number;
  readonly ok: boolean;
}

/** Largest difference between two lists; infinite where lengths differ or a number is missing. */
export function maxDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Infinity : difference;
  }
  return largest;
}

export function maxMagnitude(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
}

/** Compares by an absolute bound. */
export function compare(
  kind: Difference["kind"],
  name: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: number,
): Difference {
  const error = maxDifference(actual, expected);
  return { kind, name, error, allowed, ok: error <= allowed };
}

/** Compares gradients by a bound relative to the tensor's largest magnitude. */
export function compareGradient(
  name: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
): Difference {
  const magnitude = maxMagnitude(expected);
  const error = maxDifference(actual, expected);
  const ok = error <= tolerances.gradient * magnitude + tolerances.gradientFloor;
  // A gradient that is zero everywhere has nothing to be relative to.
  const relative = magnitude > 0 ? error / magnitude : error;
  return { kind: "gradient", name, error: relative, allowed: tolerances.gradient, ok };
}
