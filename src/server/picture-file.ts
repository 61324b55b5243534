import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { Readable } from "node:stream";
import sharp from "sharp";

/** Types that every current browser shows. Pictures of other types are turned into WebP. */
const TYPES: Readonly<Record<string, string>> = {
  ".avif": "image/avif",
  ".bmp": "image/bmp",
  ".gif": "image/gif",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".webp": "image/webp",
};

/**
 * The file of a picture, as an answer to `request`; undefined when there is no such file. Clients may
 * keep it, but ask again before they use it: after a new index is built an id may mean another picture.
 */
export async function pictureResponse(
  path: string,
  request: Request,
): Promise<Response | undefined> {
  const file = await stat(path).catch(() => undefined);
  if (file === undefined) return undefined;
  const headers = new Headers({
    etag: `"${[file.ino, file.size, Math.round(file.mtimeMs)].map((n) => n.toString(36)).join("-")}"`,
    "cache-control": "private, no-cache",
    // An SVG opened by itself is a document of this origin: it must not run scripts.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  });
  if (request.headers.get("if-none-match") === headers.get("etag")) {
    return new Response(null, { status: 304, headers });
  }
  const type = TYPES[extname(path).toLowerCase()];
  if (type === undefined) {
    headers.set("content-type", "image/webp");
    const webp = await sharp(path).rotate().webp().toBuffer();
    return new Response(new Uint8Array(webp), { headers });
  }
  headers.set("content-type", type);
  headers.set("content-length", String(file.size));
  if (request.method === "HEAD") return new Response(null, { headers });
  return new Response(Readable.toWeb(createReadStream(path)) as ReadableStream, { headers });
}
