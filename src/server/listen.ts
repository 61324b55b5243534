import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { createAdaptorServer } from "@hono/node-server";
import type { Hono } from "hono";
import { ClipsmithError } from "../util/errors.js";

export interface RunningServer {
  /** Where this machine reaches it. */
  readonly url: string;
  /** Where it can be reached, `url` first: one for each address where it listens on all of them. */
  readonly urls: readonly string[];
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
  const urls = addressesOf(host).map((name) => `http://${name}:${actual}`);
  return {
    url: urls[0]!,
    urls,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** How URLs name the addresses that listening on `host` means. */
function addressesOf(host: string): [string, ...string[]] {
  if (host !== "0.0.0.0" && host !== "::") return [bracketed(host)];
  const others = Object.values(networkInterfaces())
    .flatMap((addresses = []) => addresses)
    .filter(({ internal, family }) => !internal && (host === "::" || family === "IPv4"))
    .map(({ address }) => address)
    // Addresses of a single link need its name, which URLs cannot say.
    .filter((address) => !/^fe[89ab]/i.test(address));
  return ["127.0.0.1", ...others.map(bracketed)];
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
