import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { z } from "zod";
import type { Training } from "./training.js";

const trainBody = z.strictObject({
  collection: z.string().trim().min(1).max(4096),
  minutes: z
    .number()
    .positive()
    .max(7 * 24 * 60)
    .default(10),
});

const tooLong = bodyLimit({
  maxSize: 64 * 1024,
  onError: (c) => c.json({ error: "The request is too long." }, 413),
});

/** Routes that start, watch and stop a training. */
export function trainingRoutes(training: Training): Hono {
  const app = new Hono();

  app.get("/api/train", async (c) => c.json(await training.status()));

  app.post("/api/train", tooLong, async (c) => {
    // A form of another site can send text but not JSON: browsers ask this server first.
    if (c.req.header("content-type")?.split(";")[0]?.trim() !== "application/json") {
      return c.json({ error: "Send the request as application/json." }, 415);
    }
    let json: unknown;
    try {
      json = await c.req.json();
    } catch {
      return c.json({ error: "The request is not valid JSON." }, 400);
    }
    const body = trainBody.safeParse(json);
    if (!body.success) return c.json({ error: z.prettifyError(body.error) }, 400);
    const { minutes } = body.data;
    const collection = body.data.collection.replace(/^~(?=$|[\\/])/, homedir());
    if (!existsSync(collection)) {
      return c.json({ error: `There is no folder or file ${collection}.` }, 400);
    }
    if (training.running) {
      return c.json({ error: "A training is running. Wait for it, or stop it first." }, 409);
    }
    training.start(collection, minutes);
    return c.json(await training.status(), 202);
  });

  app.delete("/api/train", async (c) => {
    training.stop();
    return c.json(await training.status(), 202);
  });

  return app;
}
