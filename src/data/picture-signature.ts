import { open } from "node:fs/promises";

/** How files of the kinds that are read begin, bytes as letters; SVG has no such beginning. */
const SIGNATURES = [
  /^\xff\xd8\xff/,
  /^\x89PNG/,
  /^GIF8/,
  /^RIFF....WEBP/s,
  /^(II\*|MM.\*)/s,
  /^....ftypavi[fs]/s,
];
const BYTES = 12;

/** Whether a file is a picture by its first bytes: for names without an extension. False if it cannot be read. */
export async function holdsPicture(path: string): Promise<boolean> {
  try {
    const file = await open(path);
    try {
      const { buffer } = await file.read(Buffer.alloc(BYTES), { position: 0 });
      const first = buffer.toString("latin1");
      return SIGNATURES.some((signature) => signature.test(first));
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}
