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
      const compiling = Program.compile(build(), this.#options);
      compiling.catch(() => {
        // By now the key may stand for another attempt.
        if (this.#programs.get(key) === compiling) this.#programs.delete(key);
      });
      program = compiling;
    }
    // Last in the map is most recently used.
    this.#programs.delete(key);
    this.#programs.set(key, program);
    if (this.#programs.size > this.#limit) {
      const [oldest, stale] = this.#programs.entries().next().value!;
      this.#programs.delete(oldest);
      await releaseCompiled(stale);
    }
    return program;
  }

  /** Releases every program. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await releaseCompiled(program);
  }
}

/** Releases a program unless it failed to compile, which is told to whoever asked for it. */
async function releaseCompiled(program: Promise<Program>): Promise<void> {
  const compiled = await program.catch(() => undefined);
  await compiled?.release();
}
