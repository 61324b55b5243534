import { warn } from "./print.js";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * The first SIGINT or SIGTERM asks to stop; a second one ends the process at once.
 *
 * @param message that the first one is answered with
 */
export function stopOnSignals(message: string): AbortSignal {
  const controller = new AbortController();
  const stop = () => {
    for (const name of SIGNALS) process.off(name, stop);
    warn(message);
    controller.abort();
  };
  for (const name of SIGNALS) process.on(name, stop);
  return controller.signal;
}
