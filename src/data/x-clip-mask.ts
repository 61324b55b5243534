/** Which positions x-clip masks, errors included. */
import { maskedCount } from "../clip/index.js";

/** A position of a row and its rank. */
interface Ranked {
  readonly rank: number;
  readonly position: number;
}

/** Below every draw, so that what may not be masked comes last. */
const NOT_MASKABLE = -1e9;

/**
 * The positions x-clip chooses. It ranks a row's positions and keeps as many of the first as are allowed,
 * but counts them by the column a maskable position stands in: rows that do not start with maskable
 * positions get too many, and those without any get some nevertheless.
 *
 * @param maskable [B, T]
 * @param ranks [B, T]
 * @param length T
 * @param probability part of the maskable positions that is allowed, rounded up.
 * @returns [B, T], 1 at the positions chosen.
 */
export function chooseAsXClip(
  maskable: Uint8Array,
  ranks: ArrayLike<number>,
  length: number,
  probability: number,
): Uint8Array {
  const chosen = new Uint8Array(maskable.length);
  const most = maskedCount(length, probability);
  for (let start = 0; start < maskable.length; start += length) {
    const row = maskable.subarray(start, start + length);
    const ranked = Array.from(row, (may, position) => ({
      rank: may ? ranks[start + position]! : NOT_MASKABLE,
      position,
    }));
    const best = topAsTorch(ranked, most);
    const count = row.reduce((sum, may) => sum + may, 0);
    const allowed = Math.ceil(Math.fround(count * Math.fround(probability)));
    for (let column = 0, passed = 0; column < most; column++) {
      passed += row[column]!;
      if (passed <= allowed) chosen[start + best[column]!.position] = 1;
    }
  }
  return chosen;
}

/**
 * The `count` highest ranks in falling order. Equal ones, of positions that may not be masked, come in the
 * order that torch.topk leaves them in on a CPU for more than one in 64: by the C++ library's nth_element.
 */
function topAsTorch(items: readonly Ranked[], count: number): Ranked[] {
  const list = [...items];
  const before = (a: number, b: number) => list[a]!.rank > list[b]!.rank;
  const swap = (a: number, b: number) => {
    [list[a], list[b]] = [list[b]!, list[a]!];
  };
  let first = 0;
  let end = list.length;
  while (end - first > 3) {
    swap(first, median(first + 1, first + ((end - first) >> 1), end - 1, before));
    let low = first + 1;
    let high = end;
    for (;;) {
      while (before(low, first)) low++;
      do high--;
      while (before(first, high));
      if (low >= high) break;
      swap(low++, high);
    }
    if (low < count) first = low;
    else end = low;
  }
  const byRank = (a: Ranked, b: Ranked) => b.rank - a.rank;
  list.splice(first, end - first, ...list.slice(first, end).sort(byRank));
  return [...list.slice(0, count - 1).sort(byRank), list[count - 1]!];
}

/** Which of three places holds the middle element. */
function median(
  a: number,
  b: number,
  c: number,
  before: (a: number, b: number) => boolean,
): number {
  if (before(a, b)) return before(b, c) ? b : before(a, c) ? c : a;
  return before(a, c) ? a : before(b, c) ? c : b;
}
