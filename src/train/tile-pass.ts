import { gradientOf, type NamedTensors, type ResolvedClipOptions } from "../clip/index.js";
import { type Data, graph } from "../graph/index.js";
import type { Feeds, ProgramCache } from "../runtime/index.js";
import { lengthOf, type Place, type Range, tilesOf } from "./tiles.js";

/** The samples of a batch that a rank answers for, where ranks share a batch. */
export interface Band extends Range {
  /**
   * Puts together what all ranks have of something, in their order: the same on all of them. Every rank
   * calls it equally often.
   */
  gather(values: Float32Array): Promise<Float32Array>;
}

/** Something there is of every sample of a batch, as arrays [B, ...] by name. */
export type Samples = Readonly<Record<string, Data>>;

/** Values of all samples, and where gradients of the own ones add up, by the same names. */
export interface Operand {
  readonly values: Samples;
  readonly gradients: Readonly<Record<string, Float32Array>>;
}

/** Builds a tile's graph. */
export type TileGraph<T> = (options: ResolvedClipOptions, tile: T) => NamedTensors;

/** A batch on its way through the tiles. */
export class TilePass {
  readonly batch: number;
  readonly own: Range;
  /** The largest number of rows, and of columns, of a tile. */
  readonly size: number;
  readonly places: readonly Place[];
  readonly options: ResolvedClipOptions;
  readonly #programs: ProgramCache;
  readonly #band: Band | undefined;
  /** Memory for the gradients of a tile, by name. */
  readonly #scratch = new Map<string, Float32Array>();

  constructor(
    options: ResolvedClipOptions,
    programs: ProgramCache,
    { batch, size, band }: { batch: number; size: number; band?: Band | undefined },
  ) {
    this.options = options;
    this.batch = batch;
    this.size = size;
    this.own = band ?? { start: 0, end: batch };
    this.places = tilesOf(batch, size, this.own);
    this.#programs = programs;
    this.#band = band;
  }

  /** How many samples gradients are wanted of. */
  get ownCount(): number {
    return lengthOf(this.own);
  }

  /** Zeros for the gradients of the own samples. */
  ownZeros(values: Float32Array): Float32Array {
    return new Float32Array((values.length / this.batch) * this.ownCount);
  }

  /** A range of every array. */
  part(samples: Samples, { start, end }: Range): Record<string, Data> {
    return Object.fromEntries(
      Object.entries(samples).map(([name, values]) => {
        const size = values.length / this.batch;
        return [name, values.subarray(start * size, end * size)];
      }),
    );
  }

  /** Runs a tile's graph. */
  async run<T>(build: TileGraph<T>, tile: T, feeds: Feeds, into?: Feeds) {
    const key = `${build.name} ${JSON.stringify(tile)}`;
    const program = await this.#programs.get(key, () => graph(build(this.options, tile)));
    return program.run(feeds, into);
  }

  /**
   * Runs a tile's graph, and adds the gradients that it gives, times `factor`, to those of its rows' and its
   * columns' operand, as far as the place says that these are wanted.
   */
  async pull<T>(
    build: TileGraph<T>,
    tile: T,
    feeds: Feeds,
    { rows, columns, ofRows, ofColumns }: Place,
    [rowOperand, columnOperand]: readonly [Operand, Operand | undefined],
    factor: number,
  ) {
    const into: Record<string, Float32Array> = {};
    const sums: (readonly [part: Float32Array, sum: Float32Array])[] = [];
    const add = ({ gradients }: Operand, range: Range) => {
      for (const [name, gradient] of Object.entries(gradients)) {
        const size = gradient.length / this.ownCount;
        const at = (range.start - this.own.start) * size;
        const part = this.#memory(name, lengthOf(range) * size);
        into[gradientOf(name)] = part;
        sums.push([part, gradient.subarray(at, at + part.length)]);
      }
    };
    if (ofRows) add(rowOperand, rows);
    if (ofColumns && columnOperand) add(columnOperand, columns);
    const found = await this.run(build, tile, feeds, into);
    for (const [part, sum] of sums) {
      for (let i = 0; i < part.length; i++) sum[i]! += factor * part[i]!;
    }
    return found;
  }

  #memory(name: string, length: number): Float32Array {
    let memory = this.#scratch.get(name);
    if (memory === undefined || memory.length < length) {
      memory = new Float32Array(length);
      this.#scratch.set(name, memory);
    }
    return memory.subarray(0, length);
  }

  /** What all ranks have of the own samples: of the whole batch. */
  async gather(values: Float32Array): Promise<Float32Array> {
    return this.#band ? this.#band.gather(values) : values;
  }

  /** What all ranks have of columns with one number for each own sample. */
  async gatherColumns(columns: readonly Float64Array[]): Promise<Float64Array[]> {
    if (!this.#band) return [...columns];
    // Sample by sample, so that ranks' parts lie in the order of samples.
    const count = columns.length;
    const bySample = Float32Array.from(
      { length: count * this.ownCount },
      (_, i) => columns[i % count]![Math.floor(i / count)]!,
    );
    const all = await this.#band.gather(bySample);
    return columns.map((_, c) =>
      Float64Array.from({ length: this.batch }, (_, i) => all[i * count + c]!),
    );
  }

  /** Each number added up over all ranks. */
  async sum(numbers: readonly number[]): Promise<number[]> {
    if (!this.#band) return [...numbers];
    const all = await this.#band.gather(Float32Array.from(numbers));
    return numbers.map((_, i) => {
      let sum = 0;
      for (let at = i; at < all.length; at += numbers.length) sum += all[at]!;
      return sum;
    });
  }
}
