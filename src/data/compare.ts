/** Order by UTF-16 code units: the same on every machine, unlike an order by locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
