import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { StringDecoder } from "node:string_decoder";
import { isObject } from "../util/is-object.js";
import type { MetricsRow } from "./data.js";
import { History } from "./history.js";

/** Reads a file of metrics that another process may be writing: each time only what is new. */
export class MetricsFollower {
  readonly #path: string;
  #history = new History();
  #decoder = new StringDecoder("utf8");
  /** The line that is not at its end yet. */
  #rest = "";
  #read = 0;
  #file: number | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** The rows up to now, see {@link History.rows}; none where there is no file. Lines that are no JSON objects are passed over. */
  rows(): Promise<MetricsRow[]> {
    const rows = this.#turn.then(() => this.#follow());
    this.#turn = rows.catch(() => {});
    return rows;
  }

  async #follow(): Promise<MetricsRow[]> {
    const { ino, size } = await stat(this.#path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return { ino: undefined, size: 0 };
      throw error;
    });
    // A run that is resumed or begun anew replaces its file.
    if (ino !== this.#file || size < this.#read) {
      this.#history = new History();
      this.#decoder = new StringDecoder("utf8");
      this.#rest = "";
      this.#read = 0;
      this.#file = ino;
    }
    if (size > this.#read) {
      const { path } = { path: this.#path };
      for await (const chunk of createReadStream(path, { start: this.#read, end: size - 1 })) {
        this.#take(chunk as Buffer);
      }
    }
    const rows = this.#history.rows();
    const last = parseObject(this.#rest);
    return last ? [...rows, last] : rows;
  }

  #take(chunk: Buffer): void {
    this.#read += chunk.length;
    const lines = (this.#rest + this.#decoder.write(chunk)).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const row = parseObject(line);
      if (row) this.#history.add(row);
    }
  }
}

/** A JSON object; undefined for anything else, such as a line that is only half written. */
export function parseObject(text: string): MetricsRow | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? (value as MetricsRow) : undefined;
  } catch {
    return undefined;
  }
}
