import { basename } from "node:path";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { z } from "zod";
import { FollowedRun } from "../report/index.js";
import {
  embedPicture,
  type Found,
  isPresent,
  type PictureIndex,
  searchPresent,
} from "../search/index.js";
import type { ApiInfo, ApiSearch, ApiVersion } from "./api.js";
import { withErrors } from "./errors.js";
import { pageRoutes } from "./page.js";
import { pictureResponse } from "./picture-file.js";
import { type OwnHosts, ownPageOnly, safeHeaders } from "./same-site.js";
import { type Searchable, Served } from "./served.js";
import type { Training } from "./training.js";
import { trainingRoutes } from "./training-routes.js";

/** Largest picture that can be searched by, in bytes. */
const MAX_PICTURE_BYTES = 20 * 1024 * 1024;

const EXAMPLES = 8;

/** Pictures that the page begins with. */
const PICTURES = 24;

export interface AppOptions extends OwnHosts, Searchable {
  /** Heading of the page. Default: the name of the run folder, or "Clipsmith". */
  readonly title?: string;
  /** The run folder of the model, whose metrics the page shows. */
  readonly run?: string;
  /** Allows trainings to be started from the page. Default: they cannot be. */
  readonly training?: Training;
}

const limit = z.coerce.number().int().min(1).max(200).default(20);
const searchQuery = z.union([
  z.strictObject({ text: z.string().trim().min(1).max(2000), limit }),
  z.strictObject({
    picture: z
      .string()
      .regex(/^\d{1,10}$/)
      .transform(Number),
    limit,
  }),
]);
const uploadQuery = z.strictObject({ limit });

/**
 * The search page and its HTTP API; see `api.ts` for what the routes answer.
 *
 * @param served by which what is searched can be replaced; default: it stays as it is in `options`.
 */
export function createApp(options: AppOptions, served: Served = new Served(options)): Hono {
  const { run, training } = options;
  const title = options.title ?? (run === undefined ? "Clipsmith" : basename(run));
  const followed = run === undefined ? undefined : new FollowedRun(run);
  const app = new Hono();

  app.use(ownPageOnly(options, (name) => `To have it do so, serve with --allow-host ${name}.`));
  app.use(safeHeaders);

  app.get("/api/info", (c) =>
    served.use(async ({ index, note }) => {
      const info: ApiInfo = {
        version: served.version,
        title,
        count: index.count,
        width: index.width,
        pictures: await somePictures(index),
        examples: [...new Set(await index.exampleCaptions(EXAMPLES))],
        hasRun: run !== undefined,
        canTrain: training !== undefined,
        ...(note !== undefined && { note }),
      };
      return c.json(info);
    }),
  );

  app.get("/api/version", (c) => c.json({ version: served.version } satisfies ApiVersion));

  app.get("/api/search", async (c) => {
    const query = searchQuery.safeParse(c.req.query());
    if (!query.success) return c.json({ error: SEARCH_USAGE }, 400);
    const asked = query.data;
    return served.use(async ({ embedder, index }) => {
      if ("text" in asked) {
        const vector = await embedder.embedTexts([asked.text]);
        return c.json(answer(await searchPresent(index, vector, asked)));
      }
      const picture = await index.get(asked.picture);
      if (picture === undefined) return c.json({ error: NO_PICTURE }, 404);
      return c.json(answer(await searchPresent(index, picture.vector, asked)));
    });
  });

  const tooLarge = bodyLimit({
    maxSize: MAX_PICTURE_BYTES,
    onError: (c) =>
      c.json({ error: `The picture is larger than ${MAX_PICTURE_BYTES / 1024 ** 2} MB.` }, 413),
  });
  app.post("/api/search", tooLarge, async (c) => {
    const query = uploadQuery.safeParse(c.req.query());
    if (!query.success) return c.json({ error: SEARCH_USAGE }, 400);
    const picture = new Uint8Array(await c.req.arrayBuffer());
    if (picture.length === 0)
      return c.json({ error: "Send a picture as the request's body." }, 400);
    return served.use(async ({ embedder, index }) => {
      const vector = await embedPicture(embedder, picture);
      return c.json(answer(await searchPresent(index, vector, query.data)));
    });
  });

  app.get("/api/pictures/:id{[0-9]+}", async (c) => {
    const shown = await served.use(({ index }) => index.shown(Number(c.req.param("id"))));
    const response = shown && (await pictureResponse(shown, c.req.raw));
    return response ?? c.json({ error: NO_PICTURE }, 404);
  });

  app.get("/api/metrics", async (c) =>
    c.json(followed === undefined ? { history: [] } : await followed.metrics()),
  );

  if (training !== undefined) app.route("/", trainingRoutes(training));
  app.route("/", pageRoutes());

  return withErrors(app);
}

const SEARCH_USAGE =
  "Search with ?text=WORDS, with ?picture=ID, or by posting a picture; limit is 1 to 200.";
const NO_PICTURE = "The index has no such picture, or its file is gone.";

/** Rows of some pictures of the index that are there. */
async function somePictures(index: PictureIndex): Promise<number[]> {
  // Twice as many as are wanted, for some may be gone.
  const pictures = [...(await index.picturesOf(spread(index.count, 2 * PICTURES)))];
  const there = await Promise.all(pictures.map(([id, path]) => isPresent(index, id, path)));
  const present = pictures.flatMap(([id], i) => (there[i] ? [id] : []));
  return spread(present.length, PICTURES).map((i) => present[i]!);
}

/** At most so many whole numbers, spread evenly from 0 to below `count`. */
function spread(count: number, most: number): number[] {
  const wanted = Math.min(count, most);
  return Array.from({ length: wanted }, (_, i) => Math.floor((i * count) / wanted));
}

function answer({ matches, gone }: Found): ApiSearch {
  return {
    gone,
    matches: matches.map(({ id, picture, captions, score }) => ({
      id,
      name: basename(picture),
      captions,
      score,
    })),
  };
}
