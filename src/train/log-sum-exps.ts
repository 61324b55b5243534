/**
 * Log-sum-exps over rows of a matrix that is seen tile by tile (online softmax, Milakov and Gimelshein, 2018),
 * in double precision.
 */
export class LogSumExps {
  /** The largest element of each row. */
  readonly tops: Float64Array;
  /** The sum of exp(x - top) over each row: its log-sum-exp is top + log(total). */
  readonly totals: Float64Array;

  constructor(rows: number) {
    this.tops = new Float64Array(rows).fill(-Infinity);
    this.totals = new Float64Array(rows);
  }

  /**
   * Adds a tile whose first row is `row`: the largest element of each of its rows, and the sum of
   * exp(x - largest).
   */
  add(row: number, tops: Float32Array, totals: Float32Array): void {
    for (let i = 0; i < tops.length; i++) {
      const at = row + i;
      const top = tops[i]!;
      const known = this.tops[at]!;
      const raised = top > known ? top : known;
      this.totals[at] =
        this.totals[at]! * Math.exp(known - raised) + totals[i]! * Math.exp(top - raised);
      this.tops[at] = raised;
    }
  }
}
