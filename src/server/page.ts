import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Hono } from "hono";

/** dist/web, beside this file's dist/src/server. */
const FOLDER = fileURLToPath(new URL("../../web/", import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** A page and all assets. They are few and small, so they are held in memory, by name. */
export function pageRoutes(page: "index.html" | "report.html" = "index.html"): Hono {
  const app = new Hono();
  const names = existsSync(FOLDER) ? readdirSync(FOLDER) : [];
  for (const name of names) {
    const type = TYPES[extname(name)];
    if (type === undefined || (extname(name) === ".html" && name !== page)) continue;
    const body = readFileSync(join(FOLDER, name));
    const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
    app.get(name === page ? "/" : `/${name}`, (c) => {
      c.header("etag", etag);
      c.header("cache-control", "no-cache");
      if (c.req.header("if-none-match") === etag) return c.body(null, 304);
      return c.body(body, 200, { "content-type": type });
    });
  }
  return app;
}
