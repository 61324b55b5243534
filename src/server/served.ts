import type { Embedder } from "../model/embedder.js";
import type { PictureIndex } from "../search/index.js";

/** What the page searches. */
export interface Searchable {
  readonly embedder: Embedder;
  /** An index made with the same model. */
  readonly index: PictureIndex;
  /** A sentence about the model that the page shows, such as how far it is trained. Default none. */
  readonly note?: string;
}

interface Entry extends Searchable {
  /** Requests under way. */
  users: number;
  /** Called when the last of them ends, once this was replaced. */
  onLeft?: () => void;
}

/** What a server searches now: it can be replaced while requests are under way. */
export class Served {
  #now: Entry;
  #version = Date.now();

  constructor(searchable: Searchable) {
    this.#now = { ...searchable, users: 0 };
  }

  /** Grows with each replacement, and from one start of a server to the next: it counts milliseconds. */
  get version(): number {
    return this.#version;
  }

  /** Does something with what is served now, which stays usable until that is done. */
  async use<T>(work: (now: Searchable) => Promise<T>): Promise<T> {
    const entry = this.#now;
    entry.users++;
    try {
      return await work(entry);
    } finally {
      entry.users--;
      if (entry.users === 0) entry.onLeft?.();
    }
  }

  /**
   * Serves something else from now on. Requests under way end with what they began with.
   *
   * @returns when none of them is left, so that the index and the model before can be closed.
   */
  async replace(searchable: Searchable): Promise<void> {
    const before = this.#now;
    this.#now = { ...searchable, users: 0 };
    this.#version = Math.max(this.#version + 1, Date.now());
    if (before.users === 0) return;
    await new Promise<void>((resolve) => {
      before.onLeft = resolve;
    });
  }
}
