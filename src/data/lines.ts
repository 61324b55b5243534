import { createReadStream } from "node:fs";
import { utf8Bytes } from "./decode-text.js";

/** A line of a file; `line` counts from 1. */
export interface Line {
  readonly line: number;
  readonly bytes: Buffer;
}

const LF = 10;
const CR = 13;

/**
 * The lines of a file that are not blank, as bytes, whether they end in LF, CR LF or CR. Node's readline also
 * breaks lines at U+2028 and U+2029, which JSON strings may hold.
 */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  let line = 1;
  /** Of the line that is not complete yet. */
  let parts: Buffer[] = [];
  let afterCr = false;
  const take = (): Line[] => {
    const bytes = Buffer.concat(parts);
    parts = [];
    const complete = { line, bytes };
    line++;
    return bytes.toString("latin1").trim() === "" ? [] : [complete];
  };
  for await (const chunk of utf8Bytes(createReadStream(path))) {
    let start = 0;
    for (let end = 0; end < chunk.length; end++) {
      const byte = chunk[end];
      if (byte !== LF && byte !== CR) {
        afterCr = false;
        continue;
      }
      // The second half of CR LF.
      if (byte === LF && afterCr) {
        start = end + 1;
        afterCr = false;
        continue;
      }
      parts.push(chunk.subarray(start, end));
      start = end + 1;
      afterCr = byte === CR;
      yield* take();
    }
    parts.push(chunk.subarray(start));
  }
  yield* take();
}
