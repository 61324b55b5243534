import { messageOf } from "../util/errors.js";
import { standInOf } from "../util/stand-in.js";
import { CAPTION_COLUMNS, captionLines, captionsOf, fieldsOf, firstOf } from "./captions.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { parseJson } from "./json.js";

/** Extensions of text files whose lines are captions. */
export const CAPTION_LINES = ["txt", "caption", "captions", "cap"];

/** Extensions of the files beside a picture that captions are looked for in, best first. */
export const CAPTION_EXTENSIONS = [...CAPTION_LINES, "json", "cls"];

/** A class and a box, as detectors are taught: `0 0.5 0.5 0.2 0.1`. */
const BOX = /^\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}$/i;

/**
 * The captions in a file beside a picture, of one of {@link CAPTION_EXTENSIONS}, perhaps none; or why it has none, a
 * kind or `kind: detail`.
 *
 * @param picture name of the picture's file, which is no caption of it
 */
export function captionsInFile(
  extension: string,
  bytes: Uint8Array,
  picture?: string,
): string[] | string {
  const standIn = standInOf(bytes);
  if (standIn !== undefined) return `no captions in the .${extension} file: it is ${standIn}`;
  const text = decodeText(bytes);
  if (text === undefined) return NOT_UTF8;
  if (extension === "json") {
    try {
      return captionsInJson(text).filter((caption) => caption !== picture);
    } catch (error) {
      return `the .json is not JSON: ${messageOf(error).slice(0, 120)}`;
    }
  }
  const lines = captionLines(text);
  if (lines.length > 0 && lines.every((line) => BOX.test(line))) {
    return `no captions in the .${extension} file: its numbers are classes and boxes of a detector`;
  }
  return extension === "cls" && /^\s*\d+\s*$/.test(text) ? [] : lines;
}

/** @throws SyntaxError for JSON that is none */
function captionsInJson(text: string): string[] {
  const value = parseJson(text);
  if (typeof value === "string" || Array.isArray(value)) return captionsOf(value);
  if (typeof value !== "object" || value === null) throw new SyntaxError("it is no object");
  return captionsOf(firstOf(fieldsOf(value), CAPTION_COLUMNS));
}
