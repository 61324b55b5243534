import type { Hono } from "hono";
import { ClipsmithError, messageOf } from "../util/errors.js";

/** Answers what has no route, or fails, with a JSON object that says so. */
export function withErrors(app: Hono): Hono {
  app.notFound((c) => c.json({ error: `There is no ${c.req.method} ${c.req.path}.` }, 404));
  app.onError((error, c) => {
    if (error instanceof ClipsmithError) return c.json({ error: error.message }, 422);
    console.error(error);
    return c.json({ error: `The server failed: ${messageOf(error)}` }, 500);
  });
  return app;
}
