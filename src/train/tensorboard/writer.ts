import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ClipsmithError, messageOf } from "../../util/errors.js";
import type { Metrics } from "../metrics.js";
import { decodeEvent, type Event, encodeEvent, SESSION_START } from "./event.js";
import { frame, readFrames } from "./records.js";

/** What TensorBoard knows its files by. */
const PREFIX = "events.out.tfevents.";

/**
 * Writes metrics for TensorBoard: every number becomes a scalar of its name, with `/` for each dot.
 * Each step reaches the file at once.
 */
export class TensorBoardWriter {
  readonly #path: string;
  readonly #file: number;

  /**
   * Starts a file in `folder`, which is made if need be and emptied of earlier ones; or, with
   * `resumedStep`, keeps these up to that step. Going on in a file of its own, a resumed run is also
   * right in a TensorBoard that has it open.
   *
   * @throws ClipsmithError when the files cannot be read or written
   */
  constructor(folder: string, { resumedStep = -1 }: { readonly resumedStep?: number } = {}) {
    // Readers take files in the order of their names.
    const after = String(Math.max(0, resumedStep)).padStart(8, "0");
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
    this.#path = join(folder, `${PREFIX}${seconds}.clipsmith.${after}`);
    try {
      mkdirSync(folder, { recursive: true });
      for (const name of readdirSync(folder)) {
        if (name.startsWith(PREFIX)) cutAfter(join(folder, name), resumedStep);
      }
      this.#file = openSync(this.#path, "w");
    } catch (cause) {
      throw cannotWrite(this.#path, cause);
    }
    this.#append({ fileVersion: "brain.Event:2" });
    if (resumedStep >= 0) {
      this.#append({ step: resumedStep + 1, sessionLog: { status: SESSION_START } });
    }
  }

  /** @throws ClipsmithError when the file cannot be written */
  write({ step, ...metrics }: Metrics): void {
    const value = Object.entries(metrics).flatMap(([name, simpleValue]) =>
      typeof simpleValue === "number" ? [{ tag: name.replaceAll(".", "/"), simpleValue }] : [],
    );
    if (value.length > 0) this.#append({ step, summary: { value } });
  }

  close(): void {
    closeSync(this.#file);
  }

  #append(event: Omit<Event, "wallTime">): void {
    try {
      writeFileSync(this.#file, frame(encodeEvent({ wallTime: Date.now() / 1000, ...event })));
    } catch (cause) {
      throw cannotWrite(this.#path, cause);
    }
  }
}

/** Takes from a file what came after a step, and what is torn; the file itself if it began later. */
function cutAfter(path: string, step: number): void {
  let kept = 0;
  let scalars = 0;
  for (const { data, end } of readFrames(readFileSync(path))) {
    const event = decodeEvent(data);
    if ((event.step ?? 0) > step) break;
    kept = end;
    if (event.summary) scalars++;
  }
  if (scalars > 0) truncateSync(path, kept);
  else rmSync(path);
}

function cannotWrite(path: string, cause: unknown): ClipsmithError {
  return new ClipsmithError(`Cannot write ${path}: ${messageOf(cause)}.`, { cause });
}
