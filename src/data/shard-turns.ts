import type { Skipped } from "./sample.js";
import type { SampleSource, Shard, SourceSample } from "./source.js";

/** Where the reading of a source's shards stands. */
export interface TurnsState {
  /** The shards being read, by their number in the source, and the next entry of each; whose turn it is first. */
  readonly lanes: readonly { readonly shard: number; readonly entry: number }[];
  /** Shards begun. */
  readonly begun: number;
}

/** An entry; `lost` is how many a skipped one stands for. */
export type ShardEntry = SourceSample | (Skipped & { readonly lost: number });

/** Shards read in turn, so that neighbours in a shard don't stay neighbours. */
const SHARDS_AT_ONCE = 4;

/** The shards that were read to their end, and how many entries they have together. */
export interface WholeShards {
  shards: number;
  entries: number;
}

/**
 * The entries of a source's shards once through: some shards at a time, an entry of each in turn, and the
 * next shard where one ends.
 */
export class ShardTurns {
  readonly #shards: readonly Shard[];
  readonly #order: Int32Array;
  readonly #whole: WholeShards;
  readonly #lanes: Lane[];
  #begun: number;

  /**
   * @param order the numbers of all shards, in the order in which they are begun
   * @param whole counts the shards read to their end
   */
  constructor(source: SampleSource, order: Int32Array, state: TurnsState, whole: WholeShards) {
    this.#shards = source.shards;
    this.#order = order;
    this.#whole = whole;
    this.#lanes = state.lanes.map(
      ({ shard, entry }) => new Lane(source.shards[shard]!, shard, entry),
    );
    this.#begun = state.begun;
    while (this.#lanes.length < SHARDS_AT_ONCE && this.#begun < order.length) {
      this.#lanes.push(this.#begin());
    }
  }

  /** After the entry that came last. */
  get state(): TurnsState {
    const lanes = this.#lanes.map(({ number, entry }) => ({ shard: number, entry }));
    return { lanes, begun: this.#begun };
  }

  /** The next entry; undefined when all shards are read. */
  async next(): Promise<ShardEntry | undefined> {
    for (let lane = this.#lanes[0]; lane !== undefined; lane = this.#lanes[0]) {
      const entry = await lane.next();
      this.#lanes.shift();
      if (entry !== undefined) {
        this.#lanes.push(lane);
        return "reason" in entry ? { ...entry, lost: this.#lost(entry, lane) } : entry;
      }
      if (!lane.cut) {
        this.#whole.shards++;
        this.#whole.entries += lane.entry;
      }
      if (this.#begun < this.#order.length) this.#lanes.unshift(this.#begin());
    }
    return undefined;
  }

  /** How many entries one stands for: where it is for the rest of a shard, as many as others have. */
  #lost({ rest }: Skipped, lane: Lane): number {
    const { shards, entries } = this.#whole;
    return rest && shards > 0 ? Math.max(1, Math.round(entries / shards) - lane.entry + 1) : 1;
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }

  #begin(): Lane {
    const number = this.#order[this.#begun++]!;
    return new Lane(this.#shards[number]!, number, 0);
  }
}

/** A shard being read: its next entry is always on the way already. */
class Lane {
  readonly name: string;
  readonly number: number;
  /** Number of the entry that comes next. */
  entry: number;
  /** Whether it could not be read to its end. */
  cut = false;
  readonly #iterator: AsyncIterator<SourceSample | Skipped>;
  #coming: Promise<IteratorResult<SourceSample | Skipped>>;

  constructor(shard: Shard, number: number, entry: number) {
    this.name = shard.name;
    this.number = number;
    this.entry = entry;
    this.#iterator = shard.read(entry)[Symbol.asyncIterator]();
    this.#coming = this.#ask();
  }

  async next(): Promise<SourceSample | Skipped | undefined> {
    const { done, value } = await this.#coming;
    if (done) return undefined;
    this.entry++;
    this.#coming = this.#ask();
    if ("reason" in value && value.rest) this.cut = true;
    return value;
  }

  async close(): Promise<void> {
    await this.#coming.catch(() => {});
    await this.#iterator.return?.();
  }

  #ask(): Promise<IteratorResult<SourceSample | Skipped>> {
    const coming = this.#iterator.next();
    // A failure is seen when it is this lane's turn.
    coming.catch(() => {});
    return coming;
  }
}
