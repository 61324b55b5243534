import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { Readable } from "node:stream";
import sharp from "sharp";
import type { ShownPicture } from "../search/index.js";

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
 * A picture, as an answer to `request`: its small copy or else its file; undefined when there is no such
 * file. Clients may keep it, but ask again before they use it: after a new index is built an id may mean
 * another picture.
 */
export async function pictureResponse(
  { picture: path, thumbnail }: ShownPicture,
  request: Request,
): Promise<Response | undefined> {
  if (thumbnail !== undefined) return thumbnailResponse(thumbnail, request);
  const file = await stat(path).catch(() => undefined);
  if (file === undefined) return undefined;
  const headers = headersFor(
    [file.ino, file.size, Math.round(file.mtimeMs)].map((n) => n.toString(36)).join("-"),
  );
  if (isKnown(headers, request)) return new Response(null, { status: 304, headers });
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

function thumbnailResponse(thumbnail: Uint8Array, request: Request): Response {
  const headers = headersFor(createHash("sha256").update(thumbnail).digest("hex").slice(0, 32));
  if (isKnown(headers, request)) return new Response(null, { status: 304, headers });
  headers.set("content-type", "image/webp");
  return new Response(new Uint8Array(thumbnail), { headers });
}

/** @param tag tells this picture's bytes from others */
function headersFor(tag: string): Headers {
  return new Headers({
    etag: `"${tag}"`,
    "cache-control": "private, no-cache",
    // An SVG opened by itself is a document of this origin: it must not run scripts.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  });
}

/** Whether the client has the picture already. */
function isKnown(headers: Headers, request: Request): boolean {
  return request.headers.get("if-none-match") === headers.get("etag");
}
