import { TextDecoder } from "node:util";

/** Why captions that {@link decodeText} does not understand are left out. */
export const NOT_UTF8 =
  "the captions are not UTF-8: convert them, for example by iconv -f latin1 -t utf-8";

/**
 * Text out of a file's bytes: UTF-8 or, with a byte order mark that says so, UTF-16; without the mark.
 * Undefined for what is neither, or holds zeros as UTF-16 without a mark does.
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes);
    return text.includes("\0") ? undefined : text;
  } catch {
    return undefined;
  }
}

/** The bytes of a text file as UTF-8 without a byte order mark, if they are UTF-16 with one; or as they are. */
export async function* utf8Bytes(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let decoder: TextDecoder | undefined;
  let isFirst = true;
  for await (const chunk of chunks) {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (isFirst) {
      isFirst = false;
      const encoding = encodingOf(bytes);
      if (encoding !== "utf-8") decoder = new TextDecoder(encoding);
      else if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf)
        bytes = bytes.subarray(3);
    }
    yield decoder ? Buffer.from(decoder.decode(bytes, { stream: true })) : bytes;
  }
}

function encodingOf(bytes: Uint8Array): "utf-8" | "utf-16le" | "utf-16be" {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  return bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
}
