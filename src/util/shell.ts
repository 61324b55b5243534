/** A word of a command, so that a shell takes it as one: for commands shown to people. */
export function quote(word: string): string {
  return /^[\w./~:-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
