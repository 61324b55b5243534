import { readFile } from "node:fs/promises";
import sharp from "sharp";
import { ClipsmithError, messageOf } from "../util/errors.js";

export interface DecodeOptions {
  /** Height and width of the result, in pixels. */
  readonly size: number;
  /** 3 for RGB, 1 for greyscale. */
  readonly channels: 1 | 3;
  /**
   * "cover" (default): shortest side resized to `size`, centre cut out, as CLIP does. "contain":
   * longest side resized to `size`, the rest filled with the background.
   */
  readonly fit?: "cover" | "contain";
  /** Red, green and blue, 0 to 255, behind transparent parts and around contained pictures. Default: white. */
  readonly background?: readonly [number, number, number];
}

/**
 * Decodes a picture (JPEG, PNG, WebP, GIF, AVIF, TIFF or SVG; of several frames the first), turned
 * upright by its EXIF orientation, in sRGB, resized with an antialiased bicubic kernel.
 *
 * @returns [H, W, C], 8 bits a channel, H = W = size.
 * @throws ClipsmithError that names the file and says what is wrong with it; also for pictures of more
 * than 268 million pixels, so that a small file cannot fill the memory.
 */
export async function decodePicture(
  source: string | Uint8Array,
  { size, channels, fit = "cover", background = [255, 255, 255] }: DecodeOptions,
): Promise<Uint8Array> {
  try {
    // Read here, not by libvips, which keeps opened files in a cache by name and so misses changes.
    const bytes = typeof source === "string" ? await readFile(source) : source;
    if (bytes.length === 0) throw new Error("the file is empty");
    const [r, g, b] = background;
    // Warnings (odd metadata) don't spoil a picture; missing data does.
    return await sharp(bytes, { autoOrient: true, failOn: "error" })
      .flatten({ background: { r, g, b } })
      .resize(size, size, {
        fit,
        background: { r, g, b },
        kernel: "cubic",
        // The JPEG decoder's own shrinking is a little faster and visibly coarser.
        fastShrinkOnLoad: false,
      })
      .toColourspace(channels === 1 ? "b-w" : "srgb")
      .raw({ depth: "uchar" })
      .toBuffer();
  } catch (error) {
    const name = typeof source === "string" ? source : `(${source.length} bytes)`;
    throw new ClipsmithError(`Cannot read the picture ${name}: ${explain(error)}.`, {
      cause: error,
    });
  }
}

function explain(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "the file does not exist";
  if (code === "EACCES") return "permission is denied";
  if (code === "EISDIR") return "it is a folder";
  const message = messageOf(error).split("\n", 1)[0]!.slice(0, 200);
  if (/unsupported image format/.test(message)) {
    return "it is not a JPEG, PNG, WebP, GIF, AVIF, TIFF or SVG picture, whatever its name says";
  }
  return message;
}
