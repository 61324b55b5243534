import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { ClipsmithError } from "./errors.js";
import { cannotWrite } from "./write-file.js";

/** How often a held lock is touched, so that other machines see it being held ... */
const TOUCH_MS = 15_000;
/** ... and how long after the last touch they take its process to be dead. */
const DEAD_AFTER_MS = 5 * 60_000;
/** A lock that stays empty for so long was torn: its process died between making and filling it. */
const FILLED_AFTER_MS = 500;

const holderSchema = z.object({
  pid: z.int().positive(),
  /** Where that number means something: the machine, and on Linux the container. */
  machine: z.string(),
  /** When the process started, as its system tells it: numbers are used again. */
  started: z.string(),
  /** Tells the locks of one process apart. */
  id: z.string(),
  /** For people. */
  since: z.string(),
});
type Holder = z.output<typeof holderSchema>;

/**
 * Keeps a piece of work, such as a run's folder, to one process: a file that says which. A process that was killed leaves its
 * file behind; whether it still runs is told by its number and the time it started, and on another
 * machine by when it last touched the file.
 */
export class Lock {
  readonly #path: string;
  readonly #text: string;
  readonly #touching: NodeJS.Timeout;

  private constructor(path: string, text: string) {
    this.#path = path;
    this.#text = text;
    this.#touching = setInterval(() => {
      const now = new Date();
      // Whether it is still there is asked by `check`.
      utimes(path, now, now).catch(() => {});
    }, TOUCH_MS).unref();
  }

  /**
   * Takes a lock.
   *
   * @param path of its file
   * @param what has it, as in "photos is being trained"
   * @throws ClipsmithError when a living process has it, or it cannot be written
   */
  static async take(path: string, what: string): Promise<Lock> {
    const holder: Holder = {
      pid: process.pid,
      machine: machine(),
      started: startOf(process.pid) ?? "",
      id: randomUUID(),
      since: new Date().toISOString(),
    };
    const text = `${JSON.stringify(holder)}\n`;
    for (;;) {
      try {
        await writeFile(path, text, { flag: "wx" });
        return new Lock(path, text);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
          // On a full disk the file is there, and empty.
          await rm(path, { force: true });
          throw await cannotWrite(path, text.length, error);
        }
      }
      await refuseIfHeld(path, what);
      await rm(path, { force: true });
    }
  }

  /** @throws ClipsmithError when another process has taken the lock, so that nothing more may be saved */
  async check(): Promise<void> {
    if ((await textOf(this.#path)) === this.#text) return;
    throw new ClipsmithError(
      `${this.#path} is gone or another process's: this one saves no more, for there may be two. ` +
        "Leave one running.",
    );
  }

  async release(): Promise<void> {
    clearInterval(this.#touching);
    if ((await textOf(this.#path)) === this.#text) await rm(this.#path, { force: true });
  }
}

/** Throws ClipsmithError if the lock's process is alive, as far as can be told. */
async function refuseIfHeld(path: string, what: string): Promise<void> {
  let text = await textOf(path);
  if (text === "") {
    await sleep(FILLED_AFTER_MS);
    text = await textOf(path);
  }
  const holder = parse(text);
  if (holder === undefined) return;
  const { pid, machine: where, started, since } = holder;
  if (where === machine()) {
    if (startOf(pid) !== started) return;
    throw new ClipsmithError(
      `${what} by the process ${pid}, since ${since}. Wait for its end, or stop it: kill ${pid}`,
    );
  }
  const touched = await stat(path).catch(() => undefined);
  const seconds = (Date.now() - (touched?.mtimeMs ?? 0)) / 1000;
  if (seconds * 1000 > DEAD_AFTER_MS) return;
  throw new ClipsmithError(
    `${what} on another machine or in another container: by the process ${pid} of ${where}, last seen ` +
      `${Math.max(0, Math.round(seconds))} s ago. If it does not run any more, remove ${path}, ` +
      `or wait until it has not been seen for ${DEAD_AFTER_MS / 60_000} minutes.`,
  );
}

/** What the lock says; undefined where there is none. */
async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}

function parse(text: string | undefined): Holder | undefined {
  try {
    return holderSchema.parse(JSON.parse(text ?? ""));
  } catch {
    return undefined;
  }
}

function machine(): string {
  if (process.platform !== "linux") return hostname();
  return `${hostname()} ${readlinkSync("/proc/self/ns/pid")}`;
}

/** When a process of this machine started, in its system's words; undefined where there is none. */
function startOf(pid: number): string | undefined {
  try {
    if (process.platform === "linux") {
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
      // The name before it, in brackets, may hold anything; state and start time are fields 3 and 22.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      return fields[0] === "Z" ? undefined : `${boot} ${fields[19]}`;
    }
    if (process.platform === "win32") {
      process.kill(pid, 0);
      return "";
    }
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}
