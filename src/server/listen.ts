import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import type { Hono } from "hono";
import { ClipsmithError } from "../util/errors.js";

export interface RunningServer {
  readonly url: string;
  /** Stops what the server runs, and closes it. */
  close(): Promise<void>;
}

/**
 * Answers requests at an address of this machine.
 *
 * @throws ClipsmithError when the port is taken or may not be used.
 */
export async function listen(
  fetch: Hono["fetch"],
  { port, host }: { readonly port: number; readonly host: string },
): Promise<RunningServer> {
  const server = createAdaptorServer({ fetch }) as Server;
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new ClipsmithError(
        `Port ${port} is taken by another program. Choose another with --port, such as --port ${port + 1}.`,
      );
    }
    throw new ClipsmithError(`Cannot listen on ${host}, port ${port} (--port): ${message}`);
  }
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${actual}`,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
