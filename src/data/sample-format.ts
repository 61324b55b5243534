import type { Sharp } from "sharp";

/**
 * What a picture's samples are to be multiplied by before they are cut to 8 bits; or why that cannot be told, a kind
 * with a detail. Whole numbers of 8 and 16 bits have a range; others are shown by the range that their values fill:
 * floating point from 0 to 1, or up to 255 as what was computed from 8 bits is.
 *
 * @param image not changed yet
 * @param depth of a sample, in sharp's words
 * @param space in which the samples are colours, in sharp's words
 */
export async function sampleScale(
  image: Sharp,
  depth: string,
  space: string,
): Promise<number | string> {
  if (depth === "uchar" || depth === "ushort" || space.startsWith("lab")) return 1;
  const { channels } = await image.stats();
  const low = Math.min(...channels.map(({ min }) => min));
  // Of large whole numbers, the greatest is told wrongly, and the mean is not.
  const high = Math.max(...channels.flatMap(({ max, mean }) => [max, Math.floor(mean)]));
  const areNumbers = channels.every(({ mean }) => Number.isFinite(mean));
  if (low >= 0 && areNumbers) {
    // Half of the range is for numbers below 0.
    if (depth === "char" || depth === "short") return 2;
    if (depth !== "float" && high <= 255) return 1;
    // libvips itself brings linear light to sRGB.
    if (space === "scrgb" && high <= 1) return 1;
    // It takes half precision for 16 bits.
    if (depth === "float" && high <= 1) return space === "grey16" ? 65535 : 255;
    if (depth === "float" && space === "b-w" && high >= 128 && high <= 255) return 1;
  }
  const range = areNumbers ? `they go from ${low} to ${high}` : "some are no numbers";
  return `its samples have no range that is known: ${range}; convert it to 8 or 16 bits`;
}
