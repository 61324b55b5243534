import sharp from "sharp";

/** A photograph of 192 pixels a side then takes a few KB. */
const QUALITY = 75;

/**
 * A small copy of a picture to be shown: WebP, upright, all of it, no larger than it was.
 *
 * @param bytes of a file that can be decoded
 * @param size the most pixels of its longer side
 * @returns undefined where there is none after all
 */
export async function thumbnailOf(
  bytes: Uint8Array,
  size: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    // It was decoded just now, so its number of pixels is allowed.
    const image = sharp(bytes, { autoOrient: true, limitInputPixels: false });
    const resized = image.resize(size, size, { fit: "inside", withoutEnlargement: true });
    return new Uint8Array(await resized.webp({ quality: QUALITY }).toBuffer());
  } catch {
    // Nothing that is computed depends on it.
    return undefined;
  }
}
