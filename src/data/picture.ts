import { readFile } from "node:fs/promises";
import sharp from "sharp";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { lumaOf, type Rgb, WHITE } from "./colour.js";

export interface DecodeOptions {
  /** Height and width of the result, in pixels. */
  readonly size: number;
  /** 3 for RGB, 1 for its luma. */
  readonly channels: 1 | 3;
  /**
   * "cover" (default): shortest side resized to `size`, centre cut out, as CLIP does. "contain":
   * longest side resized to `size`, the rest filled with the background.
   */
  readonly fit?: "cover" | "contain";
  /** Behind transparent parts and around contained pictures. Default: white. */
  readonly background?: Rgb;
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
  { size, channels, fit = "cover", background = WHITE }: DecodeOptions,
): Promise<Uint8Array> {
  try {
    // Read here, not by libvips, which keeps opened files in a cache by name and so misses changes.
    const bytes = typeof source === "string" ? await readFile(source) : source;
    if (bytes.length === 0) throw new Error("the file is empty");
    const [r, g, b] = background;
    // Warnings (odd metadata) don't spoil a picture; missing data does.
    const rgb = await sharp(bytes, { autoOrient: true, failOn: "error" })
      .flatten({ background: { r, g, b } })
      .resize(size, size, {
        fit,
        background: { r, g, b },
        kernel: "cubic",
        // The JPEG decoder's own shrinking is a little faster and visibly coarser.
        fastShrinkOnLoad: false,
      })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer();
    return channels === 3 ? rgb : greyOf(rgb);
  } catch (error) {
    const name = typeof source === "string" ? source : `(${source.length} bytes)`;
    throw new ClipsmithError(`Cannot read the picture ${name}: ${explain(error)}.`, {
      cause: error,
    });
  }
}

function greyOf(rgb: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: rgb.length / 3 }, (_, i) =>
    Math.round(lumaOf(rgb[i * 3]!, rgb[i * 3 + 1]!, rgb[i * 3 + 2]!)),
  );
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
  // libvips keeps one error text for all threads, and a picture decoded meanwhile may have cleared it.
  return message === "Unknown error" ? "its data are damaged or incomplete" : message;
}
