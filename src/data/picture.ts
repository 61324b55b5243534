import { readFile } from "node:fs/promises";
import sharp, { type Sharp } from "sharp";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { standInOf } from "../util/stand-in.js";
import { lumaOf, type Rgb, WHITE } from "./colour.js";
import { type Raster, resample } from "./resample.js";
import { sampleScale } from "./sample-format.js";
import { centreWindow, type Extent, type Fit, type Window } from "./window.js";

export interface OpenOptions {
  /** Behind transparent parts and around contained pictures. Default: white. */
  readonly background?: Rgb;
  /** Most pixels, width times height, so that a small file cannot fill the memory. Default: 2^28. */
  readonly maxPixels?: number;
}

export interface DecodeOptions extends OpenOptions {
  /** Height and width of the result, in pixels. */
  readonly size: number;
  /** 3 for RGB, 1 for its luma. */
  readonly channels: 1 | 3;
  /**
   * "cover" (default): shortest side resized to `size`, centre cut out, as CLIP does. "contain":
   * longest side resized to `size`, the rest filled with the background.
   */
  readonly fit?: Fit;
}

/** A picture that cannot be read. */
export class UnreadablePicture extends ClipsmithError {
  /** A kind, or `kind: detail`: equal causes have equal kinds. */
  readonly reason: string;

  constructor(source: string | Uint8Array, reason: string, cause?: unknown) {
    const name = typeof source === "string" ? source : `(${source.length} bytes)`;
    super(`Cannot read the picture ${name}: ${reason}.`, { cause });
    this.reason = reason;
  }
}

/**
 * From so many of its pixels to one of the result's on, libvips shrinks a picture as it decodes it. Its
 * own kernel is then as good as Pillow's, to about a 255th; for less, and for more pixels than there are,
 * it is not.
 */
const SHRUNK_FROM = 3;

/** JPEGs of no more bytes are decoded at once: to read their heads first would take a seventh of the time. */
const SMALL_BYTES = 2 ** 16;

/** What is known of a picture before it is decoded. */
interface Head extends Extent {
  readonly format: string;
  readonly channels: number;
  /** See {@link sampleScale}. */
  readonly scale: number;
}

/**
 * Decodes a picture (JPEG, PNG, WebP, GIF, AVIF, TIFF or SVG; of several frames the first), turned
 * upright by its EXIF orientation, in sRGB, resized as OpenAI's CLIP does: with Pillow's antialiased
 * bicubic kernel, to torchvision's choice of whole pixels.
 *
 * @returns [H, W, C], 8 bits a channel, H = W = size.
 * @throws UnreadablePicture which names the file and says what is wrong with it.
 */
export async function decodePicture(
  source: string | Uint8Array,
  { size, channels, fit = "cover", ...options }: DecodeOptions,
): Promise<Uint8Array> {
  const picture = await Picture.open(source, options);
  const rgb = await picture.view(centreWindow(picture, size, fit), size);
  return channels === 3 ? rgb : greyOf(rgb);
}

/** The luma of red, green and blue [..., 3], rounded. */
export function greyOf(rgb: Uint8Array): Uint8Array {
  const grey = new Uint8Array(rgb.length / 3);
  for (let i = 0; i < grey.length; i++) {
    grey[i] = Math.round(lumaOf(rgb[3 * i]!, rgb[3 * i + 1]!, rgb[3 * i + 2]!));
  }
  return grey;
}

/** A picture's file, whose parts can be had at any size. */
export class Picture implements Extent {
  /** Upright, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8Array;
  readonly #source: string | Uint8Array;
  readonly #format: string;
  /** Whether it is grey with transparent parts. */
  readonly #veiledGrey: boolean;
  readonly #scale: number;
  readonly #background: Rgb;
  #raster: Promise<Raster> | undefined;

  private constructor(
    source: string | Uint8Array,
    bytes: Uint8Array,
    { width, height, format, channels, scale }: Head,
    background: Rgb,
  ) {
    this.#source = source;
    this.bytes = bytes;
    this.width = width;
    this.height = height;
    this.#format = format;
    this.#veiledGrey = channels === 2;
    this.#scale = scale;
    this.#background = background;
  }

  /**
   * Reads a file and its head.
   *
   * @throws UnreadablePicture
   */
  static async open(
    source: string | Uint8Array,
    { background = WHITE, maxPixels = 2 ** 28 }: OpenOptions = {},
  ): Promise<Picture> {
    // Read here, not by libvips, which keeps opened files in a cache by name and so misses changes.
    const bytes =
      typeof source === "string"
        ? await readFile(source).catch((error: unknown) => {
            throw new UnreadablePicture(source, fileReason(error), error);
          })
        : source;
    if (bytes.length === 0) throw new UnreadablePicture(source, "the file is empty");
    const failed = (error: unknown): never => {
      throw new UnreadablePicture(source, pictureReason(error, bytes), error);
    };
    if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes.length <= SMALL_BYTES) {
      const image = decoder(bytes, background, maxPixels);
      const { data, info } = await image.toBuffer({ resolveWithObject: true }).catch(failed);
      const { width, height } = info;
      const head = { width, height, format: "jpeg", channels: 3, scale: 1 };
      const picture = new Picture(source, bytes, head, background);
      picture.#raster = Promise.resolve({ pixels: data, width, height });
      return picture;
    }
    const image = sharp(bytes, { limitInputPixels: maxPixels });
    const { format, channels, autoOrient, depth, space } = await image.metadata().catch(failed);
    const scale = await sampleScale(image, depth, space).catch(failed);
    if (typeof scale === "string") throw new UnreadablePicture(source, scale);
    return new Picture(source, bytes, { ...autoOrient, format, channels, scale }, background);
  }

  /**
   * A window of the picture, resized to `size` x `size`.
   *
   * @returns [size, size, 3]: red, green, blue
   * @throws UnreadablePicture
   */
  async view(window: Window, size: number): Promise<Uint8Array> {
    if (this.shrinks(Math.min(window.width, window.height) / size)) {
      return this.#shrunk(window, size);
    }
    return resample(await this.raster(), window, size, this.#background);
  }

  /**
   * All of it as it is.
   *
   * @throws UnreadablePicture
   */
  raster(): Promise<Raster> {
    this.#raster ??= this.#pixels(this.#decoder()).then((pixels) => {
      return { pixels, width: this.width, height: this.height };
    });
    return this.#raster;
  }

  #decoder(): Sharp {
    const whole = decoder(this.bytes, this.#background, false);
    const image = this.#scale === 1 ? whole : whole.linear(this.#scale, 0);
    // Behind grey, the background would be grey, too.
    return this.#veiledGrey ? image.pipelineColourspace("srgb") : image;
  }

  async #pixels(image: Sharp): Promise<Uint8Array> {
    try {
      return await image.toBuffer();
    } catch (error) {
      throw new UnreadablePicture(this.#source, pictureReason(error, this.bytes), error);
    }
  }

  /** Whether libvips makes the view of a window that has so many pixels to one of the result's. */
  shrinks(reduction: number): boolean {
    // Drawings have no pixels of their own.
    if (this.#format === "svg") return true;
    if (reduction < SHRUNK_FROM) return false;
    // The JPEG decoder itself shrinks to a half, a quarter or an eighth, as long as a factor of two
    // remains, and drops what is left over at the end; then all that follows is out of place.
    const shrink = reduction >= 16 ? 8 : reduction >= 8 ? 4 : reduction >= 4 ? 2 : 1;
    return this.#format !== "jpeg" || (this.width % shrink === 0 && this.height % shrink === 0);
  }

  /** A window by libvips: the picture is resized so that it has the window's scale, then cut. */
  async #shrunk(window: Window, size: number): Promise<Uint8Array> {
    const along = (side: number, start: number, length: number) => {
      const whole = Math.max(1, Math.round((size * side) / length));
      const first = Math.round((start * whole) / side);
      const from = Math.max(0, first);
      return { whole, from, count: Math.min(whole, first + size) - from, at: from - first };
    };
    const x = along(this.width, window.x, window.width);
    const y = along(this.height, window.y, window.height);
    const outside = x.count <= 0 || y.count <= 0;
    const part = outside
      ? new Uint8Array()
      : await this.#pixels(
          this.#decoder()
            // The decoder could shrink so far that no factor of two remains, which is visibly coarser.
            .resize(x.whole, y.whole, { fit: "fill", kernel: "cubic", fastShrinkOnLoad: false })
            .extract({ left: x.from, top: y.from, width: x.count, height: y.count }),
        );
    if (x.count === size && y.count === size) return part;
    const result = new Uint8Array(size * size * 3);
    for (let i = 0; i < result.length; i += 3) result.set(this.#background, i);
    for (let row = 0; !outside && row < y.count; row++) {
      const pixels = part.subarray(row * x.count * 3, (row + 1) * x.count * 3);
      result.set(pixels, ((y.at + row) * size + x.at) * 3);
    }
    return result;
  }
}

/** Decodes a picture to red, green and blue bytes. */
function decoder(bytes: Uint8Array, [r, g, b]: Rgb, maxPixels: number | false): Sharp {
  // Warnings (odd metadata) don't spoil a picture; missing data does.
  return sharp(bytes, { autoOrient: true, failOn: "error", limitInputPixels: maxPixels })
    .flatten({ background: { r, g, b } })
    .toColourspace("srgb")
    .raw({ depth: "uchar" });
}

/** Why a file cannot be read. */
function fileReason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "the file does not exist";
  if (code === "EACCES") return "permission is denied";
  if (code === "EISDIR") return "it is a folder";
  return `the file cannot be read: ${messageOf(error)}`;
}

/** Why a file's bytes are no picture. */
function pictureReason(error: unknown, bytes: Uint8Array): string {
  const standIn = standInOf(bytes);
  if (standIn !== undefined) return `it is ${standIn}`;
  const message = messageOf(error).split("\n", 1)[0]!.slice(0, 200);
  if (/unsupported image format/.test(message)) {
    return "it is not a picture: no JPEG, PNG, WebP, GIF, AVIF, TIFF or SVG, whatever its name says";
  }
  if (/tiff2vips: (samples|unsupported)|bad labq/.test(message)) {
    return `its kind of TIFF cannot be read: ${message.replace(/^.*: /, "")}; convert it to 8 or 16 bits`;
  }
  if (/exceeds pixel limit/.test(message)) return "it has too many pixels";
  // libvips keeps one error text for all threads, and a picture decoded meanwhile may have cleared it.
  if (message === "Unknown error") return "it is damaged";
  return `it is damaged: ${message}`;
}
