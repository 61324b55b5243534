import { type AppOptions, createApp } from "./app.js";
import { listen, type RunningServer } from "./listen.js";
import { isLoopback } from "./same-site.js";
import { Training, type TrainingCommand } from "./training.js";

export interface ServeOptions extends Omit<AppOptions, "training" | "hosts"> {
  /** Default 7860; 0 takes any free port. */
  readonly port?: number;
  /**
   * Address or name to listen on, which is also the one that others have to use: requests for other
   * host names are turned away. Default 127.0.0.1: this machine only.
   */
  readonly host?: string;
  /** Folder for the runs of trainings started from the page. Default "runs". */
  readonly runs?: string;
  /** How a training is run. Default: by this package's own command line. */
  readonly trainingCommand?: TrainingCommand;
}

/**
 * Serves the search page. Trainings can be started from it only when it listens on a loopback
 * address: there is no log-in, and others must not start programs here.
 *
 * @throws ClipsmithError when the port is taken or may not be used.
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { port = 7860, host = "127.0.0.1", runs = "runs", trainingCommand, ...app } = options;
  const training = isLoopback(host)
    ? new Training({ runs, ...(trainingCommand && { command: trainingCommand }) })
    : undefined;
  const { fetch } = createApp({ ...app, ...(training && { training }), hosts: [host] });
  const server = await listen(fetch, { port, host });
  return {
    url: server.url,
    close: async () => {
      training?.stop();
      await server.close();
    },
  };
}
