/**
 * An error a person can mend: bad input, bad options, a missing file. Command-line programs print its
 * message without a stack; any other error is a bug of Clipsmith's and keeps its stack.
 */
export class ClipsmithError extends Error {
  override readonly name = "ClipsmithError";
}

/** What an unknown thrown value says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
