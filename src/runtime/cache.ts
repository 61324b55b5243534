import type { Graph } from "../graph/index.js";
import type { RuntimeOptions } from "./options.js";
import { Program } from "./program.js";

/**
 * Programs by key, usually the shapes they were compiled for. The least recently used one is released
 * when there are more than `limit`.
 */
export class ProgramCache {
  readonly #options: RuntimeOptions;
  readonly #limit: number;
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(options: RuntimeOptions = {}, limit = 16) {
    this.#options = options;
    this.#limit = limit;
  }

  /** The program for a key; built and compiled at its first use. */
  async get(key: string, build: () => Graph): Promise<Program> {
    let program = this.#programs.get(key);
    if (program === undefined) {
      program = Program.compile(build(), this.#options);
      program.catch(() => this.#programs.delete(key));
    }
    // Last in the map is most recently used.
    this.#programs.delete(key);
    this.#programs.set(key, program);
    if (this.#programs.size > this.#limit) {
      const [oldest, stale] = this.#programs.entries().next().value!;
      this.#programs.delete(oldest);
      await (await stale).release();
    }
    return program;
  }

  /** Releases every program. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await (await program).release();
  }
}
