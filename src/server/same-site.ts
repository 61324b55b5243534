import { isIP } from "node:net";
import type { MiddlewareHandler } from "hono";

/** 127.0.0.0/8, ::1 and localhost (RFC 6761). */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(hostname);
}

/** Which hosts a server answers for, beside the loopback ones. */
export interface OwnHosts {
  /** Names and addresses; small and capital letters are the same. Default none. */
  readonly hosts?: readonly string[];
  /**
   * Whether any address in figures is answered, such as 192.168.1.5: unlike a name, nobody can point it
   * elsewhere. Default false.
   */
  readonly anyAddress?: boolean;
}

/**
 * Answers only requests that come from the server's own page or from no page at all. A server on the
 * loopback address is still within reach of every web site its user opens:
 *
 * - a site can point its own name at 127.0.0.1 (DNS rebinding): so the Host must be a loopback name,
 *   or one of `hosts`, or an address in figures where these are answered;
 * - a site can send requests across origins: so Origin must be this server's, and Sec-Fetch-Site,
 *   which browsers also send where they leave Origin out, must not name another site. Following a
 *   link to the page itself is allowed.
 *
 * A proxy in front may speak https; it has to pass the Host on as it came.
 *
 * @param remedy what to do about a host that is not answered for, a sentence; default none
 */
export function ownPageOnly(
  { hosts = [], anyAddress = false }: OwnHosts = {},
  remedy?: (hostname: string) => string,
): MiddlewareHandler {
  const names = hosts.map((host) => bare(host.toLowerCase()));
  return async (c, next) => {
    const header = c.req.header("host");
    const url = parsed(c.req.url);
    const asked = header === undefined ? url : parsed(`http://${header}`);
    if (url === undefined || asked === undefined) {
      return c.json({ error: "The request's host is not one." }, 400);
    }
    const { host } = asked;
    const hostname = bare(asked.hostname);
    const isOwn =
      isLoopback(hostname) || names.includes(hostname) || (anyAddress && isIP(hostname) !== 0);
    if (host !== url.host || !isOwn) {
      const error = `This server does not answer for the host ${host}.`;
      return c.json({ error: remedy ? `${error} ${remedy(hostname)}` : error }, 403);
    }
    const origin = c.req.header("origin");
    const site = c.req.header("sec-fetch-site") ?? "none";
    const isLink =
      c.req.method === "GET" &&
      url.pathname === "/" &&
      c.req.header("sec-fetch-mode") === "navigate" &&
      c.req.header("sec-fetch-dest") === "document";
    const foreign = !["none", "same-origin"].includes(site) && !isLink;
    if (foreign || (origin !== undefined && !isOrigin(origin, header ?? host))) {
      return c.json({ error: "This server only answers its own page." }, 403);
    }
    return next();
  };
}

/** Whether a page's origin is this server, under the Host that it was asked for, by http or https. */
function isOrigin(origin: string, host: string): boolean {
  return ["http", "https"].some((scheme) => parsed(`${scheme}://${host}`)?.origin === origin);
}

function parsed(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined;
}

/** An IPv6 address without the brackets that URLs have around it. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Lets the page use nothing but this server, and no other site frame or embed what it answers. */
export const safeHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(HEADERS)) {
    if (!c.res.headers.has(name)) c.header(name, value);
  }
};
