/** The thread that serves a run's report; see `watch.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import { serveReport, type WatchOptions } from "../server/watch.js";
import { ClipsmithError } from "../util/errors.js";

/** What the thread says once: where the page is, or why there is none. */
export type WatchReply = { readonly url: string } | { readonly error: string };

try {
  const { url } = await serveReport(workerData as WatchOptions);
  parentPort!.postMessage({ url } satisfies WatchReply);
} catch (error) {
  if (!(error instanceof ClipsmithError)) throw error;
  parentPort!.postMessage({ error: error.message } satisfies WatchReply);
}
