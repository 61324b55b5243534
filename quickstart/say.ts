/** Writes a line. One that shows how a training gets on, in another process, makes room for it. */
export function say(line: string): void {
  console.log(process.stdout.isTTY ? `\r\x1b[2K${line}` : line);
}
