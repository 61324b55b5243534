import {
  recallGradients,
  recallStatistics,
  recallTile,
  recallUnitGradients,
  recallUnits,
} from "../clip/index.js";
import { LogSumExps } from "./log-sum-exps.js";
import type { Operand, TilePass } from "./tile-pass.js";
import { cut, lengthOf, type Place } from "./tiles.js";

/** Latents [B, L], and where gradients of the own samples add up. */
export interface Vectors {
  readonly values: Float32Array;
  readonly gradient: Float32Array;
}

/** What all samples of a batch retrieve from its others (see `retrievedSimilarities`), tile by tile. */
export class TiledRecall {
  /** What was retrieved, [B, L] of length 1. Its gradient is overwritten by {@link pullBack}. */
  readonly units: Vectors;
  readonly #pass: TilePass;
  readonly #queries: Operand;
  readonly #memories: Operand;
  /** Of the own samples: how long what they retrieved was. */
  readonly #lengths: Float32Array;
  /** Of the own samples: what their attention is made of; see `LogSumExps`. */
  readonly #attention: { readonly top: Float32Array; readonly total: Float32Array };

  private constructor(
    pass: TilePass,
    [queries, memories]: readonly [Operand, Operand],
    units: Float32Array,
    lengths: Float32Array,
    attention: { readonly top: Float32Array; readonly total: Float32Array },
  ) {
    this.#pass = pass;
    this.#queries = queries;
    this.#memories = memories;
    this.units = { values: units, gradient: new Float32Array(pass.ownCount * widthOf(pass)) };
    this.#lengths = lengths;
    this.#attention = attention;
  }

  static async run(pass: TilePass, query: Vectors, memory: Vectors): Promise<TiledRecall> {
    const queries = operand("query", query);
    const memories = operand("memory", memory);
    const places = pass.places.filter(({ ofRows }) => ofRows);
    const feedsOf = ({ rows, columns }: Place) => ({
      ...pass.part(queries.values, rows),
      ...pass.part(memories.values, columns),
    });
    const first = pass.own.start;

    const statistics = new LogSumExps(pass.ownCount);
    for (const place of places) {
      const found = await pass.run(recallStatistics, tileAt(place), feedsOf(place));
      const { top, total } = found as Record<string, Float32Array>;
      statistics.add(place.rows.start - first, top!, total!);
    }
    const attention = {
      top: Float32Array.from(statistics.tops),
      total: Float32Array.from(statistics.totals),
    };

    const width = widthOf(pass);
    const retrieved = new Float32Array(pass.ownCount * width);
    for (const place of places) {
      const [start, end] = [place.rows.start - first, place.rows.end - first];
      const feeds = {
        ...feedsOf(place),
        top: attention.top.subarray(start, end),
        total: attention.total.subarray(start, end),
      };
      const found = await pass.run(recallTile, tileAt(place), feeds);
      const part = found.retrieved as Float32Array;
      const into = retrieved.subarray(start * width);
      for (let i = 0; i < part.length; i++) into[i]! += part[i]!;
    }

    const lengths = new Float32Array(pass.ownCount);
    for (const { start, end } of cut({ start: 0, end: pass.ownCount }, pass.size)) {
      const vectors = retrieved.subarray(start * width, end * width);
      const found = await pass.run(recallUnits, end - start, { retrieved: vectors });
      vectors.set(found.unit as Float32Array);
      lengths.set(found.length as Float32Array, start);
    }
    const units = await pass.gather(retrieved);
    return new TiledRecall(pass, [queries, memories], units, lengths, attention);
  }

  /** Adds to the gradients of queries and memory what follows from those of `units`. */
  async pullBack(): Promise<void> {
    const pass = this.#pass;
    const width = widthOf(pass);
    const { values: units, gradient: ofUnits } = this.units;
    for (const { start, end } of cut({ start: 0, end: pass.ownCount }, pass.size)) {
      const gradient = ofUnits.subarray(start * width, end * width);
      const first = (pass.own.start + start) * width;
      const found = await pass.run(recallUnitGradients, end - start, {
        unit: units.subarray(first, first + gradient.length),
        length: this.#lengths.subarray(start, end),
        ofUnit: gradient,
      });
      gradient.set(found.ofRetrieved as Float32Array);
    }
    const ofQueries = {
      ofRetrieved: await pass.gather(ofUnits),
      top: await pass.gather(this.#attention.top),
      total: await pass.gather(this.#attention.total),
    };
    const [queries, memories] = [this.#queries, this.#memories];
    for (const place of pass.places) {
      const feeds = {
        ...pass.part({ ...queries.values, ...ofQueries }, place.rows),
        ...pass.part(memories.values, place.columns),
      };
      await pass.pull(recallGradients, tileAt(place), feeds, place, [queries, memories], 1);
    }
  }
}

function widthOf(pass: TilePass): number {
  return pass.options.dimLatent;
}

function operand(name: string, { values, gradient }: Vectors): Operand {
  return { values: { [name]: values }, gradients: { [name]: gradient } };
}

function tileAt({ rows, columns, ofRows, ofColumns }: Place) {
  return {
    queries: lengthOf(rows),
    stored: lengthOf(columns),
    ofQueries: ofRows,
    ofStored: ofColumns,
  };
}
