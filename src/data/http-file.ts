import { CANNOT_BE_READ, Unreadable } from "./byte-file.js";
import { type Ask, RemoteFile, type RemoteOptions } from "./remote-file.js";

/** What a server says that may answer otherwise in a while. */
const PASSING = [408, 425, 429];

/** Whether asking again may help where a server answered so. */
export function passes(status: number): boolean {
  return status >= 500 || PASSING.includes(status);
}

/** A file behind an http or https address. */
export function httpFile(address: string, options: RemoteOptions): RemoteFile {
  const ask: Ask = async ({ start, end }, tag, signal) => {
    const headers = new Headers({ "accept-encoding": "identity" });
    if (start > 0 || end !== undefined) {
      headers.set("range", `bytes=${start}-${end === undefined ? "" : end - 1}`);
      // If the file has changed, it is sent whole, with another tag. Weak tags are not for ranges.
      if (tag?.startsWith('"')) headers.set("if-range", tag);
    }
    const response = await fetch(address, { headers, signal });
    const { status, body } = response;
    if (!response.ok || body === null) {
      const answer = `the server answered ${status} ${response.statusText}`.trim();
      if (passes(status)) throw new Error(answer);
      throw new Unreadable(CANNOT_BE_READ, answer);
    }
    const range = contentRange(response.headers.get("content-range"));
    if (status === 206 && range === undefined) {
      throw new Unreadable(CANNOT_BE_READ, "the server sends a range and does not say which");
    }
    const length = response.headers.get("content-length");
    return {
      start: range?.start ?? 0,
      size: status === 206 ? range?.size : length === null ? undefined : Number(length),
      tag: response.headers.get("etag") ?? response.headers.get("last-modified") ?? undefined,
      body,
    };
  };
  return new RemoteFile(ask, options);
}

/** What "bytes 100-199/1000" says. */
export function contentRange(
  header: string | null | undefined,
): { start: number; size: number | undefined } | undefined {
  const [, start, size] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(header ?? "") ?? [];
  if (start === undefined) return undefined;
  return { start: Number(start), size: size === "*" ? undefined : Number(size) };
}
