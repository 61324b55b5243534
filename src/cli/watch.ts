import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { ClipsmithError } from "../util/errors.js";
import { warn } from "./print.js";
import type { WatchReply } from "./watch-worker.js";

/**
 * Serves a run's report while this process trains, and no longer. The thread is one of its own, because a
 * step keeps the calling one busy for as long as it takes; all it does is read the run's folder.
 *
 * @returns the page's address
 * @throws ClipsmithError when the port is taken or may not be used.
 */
export async function watchRun(run: string, port: number | undefined): Promise<string> {
  const worker = new Worker(new URL("./watch-worker.js", import.meta.url), {
    workerData: { run, ...(port !== undefined && { port }) },
    // Some options of the process, --input-type for one, stop a worker from starting.
    execArgv: [],
  });
  const [reply] = (await once(worker, "message")) as [WatchReply];
  if ("error" in reply) {
    await worker.terminate();
    throw new ClipsmithError(reply.error);
  }
  worker.unref();
  worker.on("error", (error) => warn(`The page is no longer served: ${error.message}`));
  return reply.url;
}
