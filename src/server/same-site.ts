import type { MiddlewareHandler } from "hono";

/** 127.0.0.0/8, ::1 and localhost (RFC 6761). */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(hostname);
}

/** A Host header as URLs write it: lower case, without the default port. */
function hostOf(header: string): string {
  return URL.canParse(`http://${header}`) ? new URL(`http://${header}`).host : header;
}

/**
 * Answers only requests that come from the server's own page or from no page at all. A server on the
 * loopback address is still within reach of every web site its user opens:
 *
 * - a site can point its own name at 127.0.0.1 (DNS rebinding): so the Host must be a loopback name,
 *   or one of `hosts`;
 * - a site can send requests across origins: so Origin must be this server's, and Sec-Fetch-Site,
 *   which browsers also send where they leave Origin out, must not name another site. Following a
 *   link to the page itself is allowed.
 */
export function ownPageOnly(hosts: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const url = new URL(c.req.url);
    const host = hostOf(c.req.header("host") ?? url.host);
    const hostname = url.hostname.replace(/^\[|\]$/g, "");
    if (host !== url.host || !(isLoopback(hostname) || hosts.includes(hostname))) {
      return c.json({ error: `This server does not answer for the host ${host}.` }, 403);
    }
    const origin = c.req.header("origin");
    const site = c.req.header("sec-fetch-site") ?? "none";
    const isLink =
      c.req.method === "GET" &&
      url.pathname === "/" &&
      c.req.header("sec-fetch-mode") === "navigate" &&
      c.req.header("sec-fetch-dest") === "document";
    const foreign = !["none", "same-origin"].includes(site) && !isLink;
    if (foreign || (origin !== undefined && origin !== `http://${host}`)) {
      return c.json({ error: "This server only answers its own page." }, 403);
    }
    return next();
  };
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
