import { type AppOptions, createApp } from "./app.js";
import { listen, type RunningServer } from "./listen.js";
import { isLoopback, type OwnHosts } from "./same-site.js";
import { Training, type TrainingCommand } from "./training.js";

export interface ServeOptions extends Omit<AppOptions, "training" | keyof OwnHosts> {
  /** Default 7860; 0 takes any free port. */
  readonly port?: number;
  /**
   * Address or name to listen on; 0.0.0.0 and :: stand for all addresses of this machine. Others reach it
   * by this name, or by any address in figures; requests for other names are turned away. Default
   * 127.0.0.1: this machine only.
   */
  readonly host?: string;
  /** More names to answer for, such as that of a proxy in front. Default none. */
  readonly allowedHosts?: readonly string[];
  /** Folder for the runs of trainings started from the page. Default "runs". */
  readonly runs?: string;
  /** How a training is run. Default: by this package's own command line. */
  readonly trainingCommand?: TrainingCommand;
}

/**
 * Serves the search page. Trainings can be started from it only when it listens on a loopback
 * address and answers for no other name: there is no log-in, and others must not start programs here.
 *
 * @throws ClipsmithError when the port is taken or may not be used.
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { port = 7860, host = "127.0.0.1", allowedHosts = [], ...others } = options;
  const { runs = "runs", trainingCommand, ...app } = others;
  const isPrivate = isLoopback(host) && allowedHosts.length === 0;
  const training = isPrivate
    ? new Training({ runs, ...(trainingCommand && { command: trainingCommand }) })
    : undefined;
  const { fetch } = createApp({
    ...app,
    ...(training && { training }),
    hosts: [host, ...allowedHosts],
    anyAddress: !isLoopback(host),
  });
  const server = await listen(fetch, { port, host });
  return {
    url: server.url,
    urls: server.urls,
    close: async () => {
      training?.stop();
      await server.close();
    },
  };
}
