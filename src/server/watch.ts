import { Hono } from "hono";
import { FollowedRun } from "../report/index.js";
import { withErrors } from "./errors.js";
import { listen, type RunningServer } from "./listen.js";
import { pageRoutes } from "./page.js";
import { ownPageOnly, safeHeaders } from "./same-site.js";

export interface WatchOptions {
  /** Folder of the run; it need not be there yet. */
  readonly run: string;
  /** Default 7861; 0 takes any free port. */
  readonly port?: number;
}

/** The report of a run as a page that follows it. All it knows of the run is what the folder says. */
export function createWatchApp({ run }: Pick<WatchOptions, "run">): Hono {
  const followed = new FollowedRun(run);
  const app = new Hono();
  app.use(ownPageOnly());
  app.use(safeHeaders);
  app.get("/api/report", async (c) => c.json(await followed.report()));
  app.route("/", pageRoutes("report.html"));
  return withErrors(app);
}

/**
 * Serves the report of a run to this machine only.
 *
 * @throws ClipsmithError when the port is taken or may not be used.
 */
export async function serveReport({ run, port = 7861 }: WatchOptions): Promise<RunningServer> {
  return listen(createWatchApp({ run }).fetch, { port, host: "127.0.0.1" });
}
