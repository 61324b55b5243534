/**
 * JSON of data files. NaN, Infinity and -Infinity, which are no JSON but which Python writes, are null.
 *
 * @throws SyntaxError for what is no JSON all the same
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.replace(STRING_OR_NO_NUMBER, nullForNoNumber));
  }
}

/** Strings are matched as well, so that nothing inside them is. */
const STRING_OR_NO_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*(?:"|$)|-?\b(?:NaN|Infinity)\b/gs;

function nullForNoNumber(match: string): string {
  return match.startsWith('"') ? match : "null";
}
