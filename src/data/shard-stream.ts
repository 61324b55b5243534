import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { ShardTurns, type WholeShards } from "./shard-turns.js";
import { causeLines, SkipCounts } from "./skip-log.js";
import type { SampleSource } from "./source.js";
import type { SampleStream, Streamed } from "./stream.js";
import type { BlockStart, ShardPosition } from "./stream-position.js";

interface Block {
  readonly start: BlockStart;
  /** In the order in which they are handed out; those that were are gone. */
  readonly entries: (Streamed | undefined)[];
}

/** A block ends when its pictures take more than this. */
const MAX_BLOCK_BYTES = 2 ** 28;

/**
 * A source in shards. Each epoch has the shards in a random order; what they give is cut into blocks, and
 * each block is handed out in a random order. While one is handed out, the next is read; no more than
 * these two are in memory.
 *
 * A position is the beginning of a block and a place in it, so going on there reads one block again.
 */
export class ShardStream implements SampleStream {
  readonly #source: SampleSource;
  readonly #key: readonly (string | number)[];
  readonly #shuffleBuffer: number;
  readonly #whole: WholeShards = { shards: 0, entries: 0 };
  /** Where the next block begins that is to be read, and what it is read from. */
  #start: BlockStart;
  #turns: ShardTurns;
  #block: Block | undefined;
  /** Where the block begins that is handed out, or is to be first. */
  #blockStart: BlockStart;
  #place: number;
  #ahead: Promise<Block> | undefined;
  /** What is left out in the present pass. */
  #skipped = new SkipCounts();
  #closed = false;

  constructor(
    source: SampleSource,
    key: readonly (string | number)[],
    shuffleBuffer: number,
    position?: ShardPosition,
  ) {
    const shards = source.shards.length;
    if (shards === 0) throw new ClipsmithError(`${source.name} has no shards.`);
    this.#source = source;
    this.#key = key;
    this.#shuffleBuffer = shuffleBuffer;
    const { place, ...start } = position ?? { ...beginning(0, shards), place: 0 };
    const fits = start.shards === shards;
    this.#start = fits ? start : beginning(start.epoch + 1, shards);
    this.#blockStart = this.#start;
    this.#place = fits ? place : 0;
    this.#turns = this.#turnsFrom(this.#start);
  }

  get position(): ShardPosition {
    return { ...this.#blockStart, place: this.#place };
  }

  async next(): Promise<Streamed> {
    if (this.#block === undefined) await this.#nextBlock();
    // A block taken up again is shorter than it was where another shard fails.
    while (this.#place >= this.#block!.entries.length) {
      await this.#nextBlock();
      this.#place = 0;
    }
    const { entries } = this.#block!;
    const entry = entries[this.#place]!;
    entries[this.#place] = undefined;
    this.#place++;
    return entry;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#ahead?.catch(() => {});
    await this.#turns.close();
  }

  async #nextBlock(): Promise<void> {
    if (this.#closed) throw new Error("ShardStream: next() after close()");
    this.#block = await (this.#ahead ?? this.#readAhead());
    this.#blockStart = this.#block.start;
    this.#ahead = this.#readAhead();
  }

  #readAhead(): Promise<Block> {
    const block = this.#read();
    // A failure is seen when the block's turn comes.
    block.catch(() => {});
    return block;
  }

  /** Reads the block that begins at `#start`, and moves that to its end. */
  async #read(): Promise<Block> {
    const entries: Streamed[] = [];
    let samples = 0;
    let bytes = 0;
    while (entries.length < this.#shuffleBuffer && bytes < MAX_BLOCK_BYTES && !this.#closed) {
      const entry = await this.#turns.next();
      if (entry === undefined) {
        if (entries.length > 0) break;
        this.#start = this.#nextEpoch();
        this.#turns = this.#turnsFrom(this.#start);
        continue;
      }
      entries.push({ ...entry, epoch: this.#start.epoch });
      if ("reason" in entry) {
        this.#skipped.add(entry);
      } else {
        samples++;
        if (typeof entry.picture !== "string") bytes += entry.picture.length;
      }
    }
    const start = this.#start;
    const { epoch, block } = start;
    this.#start = {
      ...start,
      ...this.#stateOfTurns(),
      block: block + 1,
      samples: start.samples + samples,
    };
    const order = random(...this.#key, "block", epoch, block).permutation(entries.length);
    return { start, entries: Array.from(order, (place) => entries[place]) };
  }

  #nextEpoch(): BlockStart {
    const { epoch, samples, shards } = this.#start;
    const skipped = this.#skipped.summary;
    this.#skipped = new SkipCounts();
    if (samples > 0) return beginning(epoch + 1, shards);
    const isWhole = skipped.count === skipped.first.length;
    const lines = isWhole
      ? skipped.first.map(({ where, reason }) => `  ${where}: ${reason}`)
      : causeLines(skipped);
    const over = shards === 1 ? "shard" : `${shards} shards`;
    const said = `${this.#source.name} gave no sample in a whole pass over its ${over}.`;
    throw new ClipsmithError([said, ...lines].join("\n"));
  }

  #turnsFrom(start: BlockStart): ShardTurns {
    const order = random(...this.#key, "shards", start.epoch).permutation(start.shards);
    return new ShardTurns(this.#source, order, start, this.#whole);
  }

  #stateOfTurns() {
    const { lanes, begun } = this.#turns.state;
    return { lanes: [...lanes], begun };
  }
}

function beginning(epoch: number, shards: number): BlockStart {
  return { epoch, block: 0, samples: 0, lanes: [], begun: 0, shards };
}
