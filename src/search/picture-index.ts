import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { pathsOf, TABLE } from "./index-folder.js";
import {
  type Connection,
  connect,
  type FixedSizeList,
  type Schema,
  type Table,
  type VectorQuery,
} from "./lancedb.js";

/** A picture found by a search. */
export interface Match {
  /** Row of the picture in its index, 0 to count - 1. */
  readonly id: number;
  /** Absolute path of the picture's file, or where it came from: `shard.tar/key`. */
  readonly picture: string;
  readonly captions: string[];
  /** Cosine similarity with the query, -1 to 1. */
  readonly score: number;
}

/** A picture of an index. */
export interface IndexedPicture {
  /** Absolute path of the picture's file, or where it came from: `shard.tar/key`. */
  readonly picture: string;
  readonly captions: string[];
  /** [L], of length 1. */
  readonly vector: Float32Array;
}

/** What there is to show of a picture. */
export interface ShownPicture {
  /** Absolute path of the picture's file, or where it came from: `shard.tar/key`. */
  readonly picture: string;
  /** A small copy, WebP: of a picture that has no file of its own. */
  readonly thumbnail?: Uint8Array;
}

export interface SearchOptions {
  /** The most matches to return. Default 20. */
  readonly limit?: number;
}

/** What LanceDB returns of a row, as far as it was selected. */
interface StoredRow {
  id: number;
  picture: string;
  captions: Iterable<string>;
  thumbnail?: Uint8Array | null;
  vector: Iterable<number>;
  _distance: number;
}

/** Pictures on disk that can be searched by vector. Close it when done. */
export class PictureIndex {
  readonly #folder: string;
  readonly #connection: Connection;
  readonly #table: Table;
  readonly #shownColumns: string[];
  /** Width L of the embeddings. */
  readonly width: number;
  /** Number of pictures. */
  readonly count: number;

  private constructor(
    folder: string,
    connection: Connection,
    table: Table,
    schema: Schema,
    width: number,
    count: number,
  ) {
    this.#folder = folder;
    this.#connection = connection;
    this.#table = table;
    // Older indexes have no thumbnails.
    const names = schema.fields.map(({ name }) => name);
    this.#shownColumns = ["picture", "thumbnail"].filter((name) => names.includes(name));
    this.width = width;
    this.count = count;
  }

  /**
   * Opens the index that `buildIndex` made in `folder`.
   *
   * @throws ClipsmithError when there is none.
   */
  static async open(folder: string): Promise<PictureIndex> {
    const { current, previous } = pathsOf(folder);
    // A build killed in the middle of its swap leaves the old index under its other name.
    const found = [current, previous].find((path) => existsSync(resolve(path, `${TABLE}.lance`)));
    if (found === undefined) {
      throw new ClipsmithError(
        `There is no picture index in ${current}. Make one with: clipsmith index`,
      );
    }
    const connection = await connect(found);
    const table = await connection.openTable(TABLE);
    const schema = await table.schema();
    const column = schema.fields.find((field) => field.name === "vector");
    if (column === undefined) {
      throw new ClipsmithError(
        `The picture index in ${found} has no vectors. Make it anew with: clipsmith index`,
      );
    }
    const width = (column.type as FixedSizeList).listSize;
    return new PictureIndex(current, connection, table, schema, width, await table.countRows());
  }

  /**
   * The pictures nearest to `vector` [L], best first, also those whose files are gone: see `searchPresent`.
   *
   * @throws ClipsmithError when `vector` is not as wide as the index, or has no direction.
   */
  async search(vector: Float32Array, { limit = 20 }: SearchOptions = {}): Promise<Match[]> {
    if (vector.length !== this.width) {
      throw new ClipsmithError(
        `The index holds embeddings of width ${this.width}, but the model makes ones of width ` +
          `${vector.length}: it was made with another model. Make it anew with: clipsmith index`,
      );
    }
    if (!vector.every(Number.isFinite) || vector.every((x) => x === 0)) {
      throw new ClipsmithError("The query's embedding is zero or not finite: the model is broken.");
    }
    const query = this.#table
      .query()
      .nearestTo(vector)
      .distanceType("cosine")
      .select(["id", "picture", "captions", "_distance"])
      .limit(Math.max(1, Math.min(limit, this.count)));
    const rows = await this.#read(query);
    return rows.map((row) => ({
      id: row.id,
      picture: row.picture,
      captions: [...row.captions],
      score: 1 - row._distance,
    }));
  }

  /** The picture of row `id`; undefined when there is no such row. */
  async get(id: number): Promise<IndexedPicture | undefined> {
    const [row] = await this.#take([id], ["picture", "captions", "vector"]);
    if (row === undefined) return undefined;
    return {
      picture: row.picture,
      captions: [...row.captions],
      vector: Float32Array.from(row.vector),
    };
  }

  /** What there is to show of the picture of row `id`; undefined when there is no such row. */
  async shown(id: number): Promise<ShownPicture | undefined> {
    const [row] = await this.#take([id], this.#shownColumns);
    if (row === undefined) return undefined;
    const { picture, thumbnail } = row;
    return { picture, ...(thumbnail && { thumbnail }) };
  }

  /** Where the pictures of rows are from, by row; rows that there are not are left out. */
  async picturesOf(ids: readonly number[]): Promise<Map<number, string>> {
    const rows = await this.#take(ids, ["id", "picture"]);
    return new Map(rows.map(({ id, picture }) => [id, picture]));
  }

  /** The first caption of up to `count` pictures spread evenly over the index. */
  async exampleCaptions(count: number): Promise<string[]> {
    const wanted = Math.min(count, this.count);
    const ids = Array.from({ length: wanted }, (_, i) => Math.floor((i * this.count) / wanted));
    const rows = await this.#take(ids, ["captions"]);
    return rows.flatMap((row) => [...row.captions].slice(0, 1));
  }

  /** Rows are written in the order of their ids and never deleted: an id is an offset. */
  async #take(ids: readonly number[], columns: string[]): Promise<StoredRow[]> {
    const known = ids.filter((id) => Number.isInteger(id) && id >= 0 && id < this.count);
    if (known.length === 0) return [];
    return this.#read(this.#table.takeOffsets(known).select(columns));
  }

  async #read(query: Pick<VectorQuery, "toArray">): Promise<StoredRow[]> {
    try {
      return await query.toArray();
    } catch (error) {
      // The files of a table are read when they are needed.
      if (!/not found/i.test(messageOf(error))) throw error;
      throw new ClipsmithError(
        `The picture index in ${this.#folder} has been replaced or removed since it was opened. ` +
          "Start again to use the new one.",
        { cause: error },
      );
    }
  }

  close(): void {
    this.#table.close();
    this.#connection.close();
  }
}
