import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { ClipsmithError, messageOf } from "../src/util/errors.js";
import { say } from "./say.js";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Runs a training in a process of its own, for a step keeps the thread that takes it busy. The first Ctrl+C
 * has it stop with a checkpoint, a second one ends both processes at once.
 *
 * @param script which calls {@link asTraining}
 * @param task what it is told
 * @param meanwhile called when the training has begun; its signal is aborted when the training is over. What
 *   it throws is told, and stops nothing.
 * @returns when both are over: false if it was stopped
 * @throws ClipsmithError if the training failed
 */
export async function runTraining(
  script: URL,
  task: unknown,
  meanwhile: (isOver: AbortSignal) => Promise<void>,
): Promise<boolean> {
  const child = fork(script, [JSON.stringify(task)], { stdio: "inherit" });
  const over = new AbortController();
  let beside: Promise<void> | undefined;
  child.once("message", () => {
    beside = meanwhile(over.signal).catch((error) =>
      say(`The page is not shown while the model is trained: ${messageOf(error)}`),
    );
  });
  const { code, signal, isStopped } = await stoppable(child);
  over.abort();
  await beside;
  if (isStopped || code === 0) return !isStopped;
  const reason = signal === null ? "failed: it says why above" : `was ended by ${signal}`;
  throw new ClipsmithError(`The training ${reason}.`);
}

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly isStopped: boolean;
}

/** Waits for the end of a training, and stops it when this process is told to end. */
async function stoppable(child: ChildProcess): Promise<End> {
  let isStopped = false;
  const stop = () => {
    isStopped = true;
    for (const name of SIGNALS) process.off(name, stop);
    say("Stopping after this step, with a checkpoint. Once more ends at once.");
    if (child.connected) child.disconnect();
  };
  for (const name of SIGNALS) process.on(name, stop);
  try {
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    return { code, signal, isStopped };
  } finally {
    for (const name of SIGNALS) process.off(name, stop);
  }
}

/**
 * Is the training of {@link runTraining}: does the work in this process, which ends with it.
 *
 * @param work is given what the process was told; a signal that is aborted when it is to stop, because it was
 *   told so or the other process is gone; and what to call when it has begun.
 */
export async function asTraining<T>(
  work: (task: T, signal: AbortSignal, begun: () => void) => Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once("disconnect", stop);
  // Ctrl+C reaches both processes.
  for (const name of SIGNALS) process.once(name, stop);
  try {
    await work(JSON.parse(process.argv[2]!) as T, controller.signal, () => {
      if (process.connected) process.send!("begun");
    });
  } catch (error) {
    if (!(error instanceof ClipsmithError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    if (process.connected) process.disconnect();
  }
}
