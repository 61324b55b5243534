import { createReadStream } from "node:fs";
import { STAND_IN_BYTES, standInOf } from "../util/stand-in.js";

/** What lies at a path in place of a file that was not fetched; undefined for a file of data. */
export async function standInAt(path: string): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of createReadStream(path, { end: STAND_IN_BYTES - 1 })) chunks.push(chunk);
  return standInOf(Buffer.concat(chunks));
}
