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
  /** Loss and outputs: absolute; gradients: relative, see {@link compareGradient}. */
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

/**
 * Compares gradients. Their bound is relative to the tensor's largest magnitude, plus an absolute floor;
 * as one number that is relative to this magnitude plus floor / bound, so that gradients which are zero
 * but for rounding (of biases before batch norm, say) don't look off.
 */
export function compareGradient(
  name: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
): Difference {
  const { gradient: allowed, gradientFloor } = tolerances;
  const scale = maxMagnitude(expected) + gradientFloor / allowed;
  const error = maxDifference(actual, expected) / scale;
  return { kind: "gradient", name, error, allowed, ok: error <= allowed };
}
