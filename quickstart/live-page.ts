import { rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Model } from "../src/model/index.js";
import type { PictureIndex } from "../src/search/index.js";
import { type SearchServer, serve } from "../src/server/index.js";
import { listen } from "../src/server/listen.js";

/** A model to search with, and its index. */
export interface Shown {
  readonly model: Model;
  readonly index: PictureIndex;
  /** A sentence about the model. */
  readonly note?: string;
  /** A folder to remove when something else is shown, and the one it is in if nothing else is there. */
  readonly folder?: string;
}

/** The search page of a run, which goes from model to model. */
export class LivePage {
  readonly #run: string;
  readonly #port: number;
  #server: SearchServer | undefined;
  #shown: Shown | undefined;

  /**
   * @throws ClipsmithError when the port is taken, which is better known before a training than after it
   */
  static async of(run: string, port: number): Promise<LivePage> {
    const server = await listen(() => new Response(), { port, host: "127.0.0.1" });
    await server.close();
    return new LivePage(run, port);
  }

  private constructor(run: string, port: number) {
    this.#run = run;
    this.#port = port;
  }

  /** Shows a model in place of the one before, which is released. Returns the page's address. */
  async show(shown: Shown): Promise<string> {
    const { model: embedder, index, note } = shown;
    const searchable = { embedder, index, ...(note !== undefined && { note }) };
    if (this.#server === undefined) {
      const [run, port] = [this.#run, this.#port];
      this.#server = await serve({ ...searchable, title: "Emoji", run, port });
    } else {
      await this.#server.replace(searchable);
    }
    await this.#release();
    this.#shown = shown;
    return this.#server.url;
  }

  async close(): Promise<void> {
    await this.#server?.close();
    await this.#release();
  }

  async #release(): Promise<void> {
    if (this.#shown === undefined) return;
    const { model, index, folder } = this.#shown;
    this.#shown = undefined;
    index.close();
    await model.release();
    if (folder === undefined) return;
    await rm(folder, { recursive: true, force: true });
    await rmdir(dirname(folder)).catch(() => {});
  }
}
