/** The name under which a graph gives a buffer's new value. */
export const newValueOf = (name: string) => `new value of ${name}`;

/** A record of values by other names. */
export function renamed<T>(
  values: Iterable<readonly [string, T]>,
  rename: (name: string) => string,
): Record<string, T> {
  return Object.fromEntries([...values].map(([name, value]) => [rename(name), value]));
}
