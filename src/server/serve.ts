import { type AppOptions, createApp } from "./app.js";
import { listen, type RunningServer } from "./listen.js";
import { isLoopback, type OwnHosts } from "./same-site.js";
import { type Searchable, Served } from "./served.js";
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

/** A server of the search page. */
export interface SearchServer extends RunningServer {
  /**
   * Searches by another model and another index from now on; open pages notice within seconds and search
   * anew. Requests under way end with those before.
   *
   * @returns when none of them is left, so that the model and the index before can be closed.
   */
  replace(searchable: Searchable): Promise<void>;
}

/**
 * Serves the search page. Trainings can be started from it only when it listens on a loopback
 * address and answers for no other name: there is no log-in, and others must not start programs here.
 *
 * @throws ClipsmithError when the port is taken or may not be used.
 */
export async function serve(options: ServeOptions): Promise<SearchServer> {
  const { port = 7860, host = "127.0.0.1", allowedHosts = [], ...others } = options;
  const { runs = "runs", trainingCommand, ...app } = others;
  const isPrivate = isLoopback(host) && allowedHosts.length === 0;
  const training = isPrivate
    ? new Training({ runs, ...(trainingCommand && { command: trainingCommand }) })
    : undefined;
  const served = new Served(app);
  const { fetch } = createApp(
    {
      ...app,
      ...(training && { training }),
      hosts: [host, ...allowedHosts],
      anyAddress: !isLoopback(host),
    },
    served,
  );
  const server = await listen(fetch, { port, host });
  return {
    url: server.url,
    urls: server.urls,
    replace: (searchable) => served.replace(searchable),
    close: async () => {
      training?.stop();
      await server.close();
    },
  };
}
