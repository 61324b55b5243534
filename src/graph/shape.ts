/** Size of one axis: a number, or the name of a size known only when the graph runs (`"batch"`). */
export type Dim = number | string;

/**
 * Sizes of all axes. Named sizes multiply into names such as `"4*batch"`; two sizes are equal when they
 * are written alike.
 */
export type Shape = readonly Dim[];

/** `[8, 16, batch]`, for messages. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

export function isStatic(shape: Shape): shape is readonly number[] {
  return shape.every((dim) => typeof dim === "number");
}

/** The product of sizes, in the one way it can be written. */
export function product(shape: Shape): Dim {
  let count = 1;
  const names: string[] = [];
  for (const dim of shape) {
    if (typeof dim === "number") {
      count *= dim;
      continue;
    }
    for (const factor of dim.split("*")) {
      if (/^\d+$/.test(factor)) count *= Number(factor);
      else names.push(factor);
    }
  }
  if (names.length === 0 || count === 0) return count;
  names.sort();
  return [...(count === 1 ? [] : [String(count)]), ...names].join("*");
}

/** The number of elements. Throws where an axis has a named size. */
export function elementCount(shape: Shape): number {
  const count = product(shape);
  if (typeof count === "string") {
    throw new Error(`the number of elements of ${formatShape(shape)} is not known before it runs`);
  }
  return count;
}

/** Turns an axis counted from the end (-1 is the last) into one counted from the front. */
export function normalizeAxis(axis: number, rank: number, where: string): number {
  const normalized = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normalized < 0 || normalized >= rank) {
    throw new Error(`${where}: axis ${axis} does not exist in a tensor of ${rank} axes`);
  }
  return normalized;
}

/** The shape that both broadcast to by NumPy's rules. Throws naming the axis that does not fit. */
export function broadcast(a: Shape, b: Shape, where: string): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    if (x === y || y === 1) return x;
    if (x === 1) return y;
    throw new Error(
      `${where}: ${formatShape(a)} and ${formatShape(b)} do not broadcast: ` +
        `axis ${axis - rank} is ${x} in one and ${y} in the other`,
    );
  });
}
