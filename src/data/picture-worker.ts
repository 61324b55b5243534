/** A thread of PictureLoader: decodes, changes and normalises pictures. */
import { parentPort, workerData } from "node:worker_threads";
import sharp from "sharp";
import { random } from "../util/random.js";
import { type AugmentOptions, augmentInto, normaliseInto, type PixelFormat } from "./augment.js";
import { WHITE } from "./colour.js";
import { limiter } from "./concurrent.js";
import { decodePicture, greyOf, Picture, UnreadablePicture } from "./picture.js";
import { resample } from "./resample.js";
import { thumbnailOf } from "./thumbnail.js";
import { centreWindow, drawWindow, type Extent, type Fit, type Window } from "./window.js";

/** What a thread is started with. */
export interface PictureWorkerData extends PixelFormat {
  readonly fit: Fit;
  readonly maxPixels?: number;
  readonly augment: AugmentOptions;
  readonly views: readonly AugmentOptions[];
  readonly thumbnailSize?: number;
}

/** A second picture mixed into one, changed by the same random numbers. */
export interface Blend {
  /** The path of a file. If it cannot be read, nothing is mixed in. */
  readonly picture: string;
  /** Its part of the mixture, 0 to 1. */
  readonly weight: number;
}

/** A picture as it is kept for later loads: all of it if crops are drawn, else the square that is needed. */
export interface KeptPicture extends Extent {
  /** [H, W, C], in memory that all threads share. */
  readonly pixels: Uint8Array<SharedArrayBuffer>;
  readonly fingerprint: number;
}

export interface LoadRequest {
  readonly id: number;
  readonly pictures: readonly {
    readonly picture: string | Uint8Array;
    readonly augmentKey?: readonly (string | number)[] | undefined;
    readonly blend?: Blend;
  }[];
  /** Those of the pictures that are kept, by path. */
  readonly kept: ReadonlyMap<string, KeptPicture>;
  /** Whether others should be kept. */
  readonly keep: boolean;
}

export interface LoadReply {
  readonly id: number;
  /** [N, C, H, W] */
  readonly pixels: Float32Array<ArrayBuffer>;
  /** Each [N, C, H, W] */
  readonly views: readonly Float32Array<ArrayBuffer>[];
  readonly fingerprints: Float64Array<ArrayBuffer>;
  readonly failed: readonly { readonly index: number; readonly reason: string }[];
  readonly thumbnails: ReadonlyMap<number, Uint8Array<ArrayBuffer>>;
  /** Pictures to be kept, by path. */
  readonly kept: ReadonlyMap<string, KeptPicture>;
}

/** A picture decoded: see {@link KeptPicture}. */
interface Decoded extends Extent {
  readonly pixels: Uint8Array;
  readonly fingerprint: number;
}

/** A picture that views can be taken of. */
interface Source {
  readonly fingerprint: number;
  /** [size, size, C]: the window that `draw` chooses of a picture of some extent. */
  view(draw: (extent: Extent) => Window): Promise<Uint8Array>;
}

/**
 * Pictures under way at a time, of all loads: libuv's threads decode four by default, and some others are
 * changed meanwhile or wait for that. More would only hold memory.
 */
const PICTURES_AT_A_TIME = 6;
/** Pictures with more than so many pixels a side to one of the result's are not kept whole. */
const KEPT_REDUCTION = 4;

const data = workerData as PictureWorkerData;
const { size, channels, fit } = data;
const changes = [data.augment, ...data.views];
const crops = changes.some(({ crop }) => crop !== undefined && crop[0] < 1);

// A batch has pictures enough to keep all cores busy; what libvips would do on the side for each of them
// (threads of its own, a cache of operations by name) costs more than it gives.
sharp.concurrency(1);
sharp.cache(false);

const limited = limiter(PICTURES_AT_A_TIME);

/** The pictures of one load, those kept before and those to be kept after. */
class Sources {
  readonly kept = new Map<string, KeptPicture>();
  readonly #request: LoadRequest;

  constructor(request: LoadRequest) {
    this.#request = request;
  }

  async get(picture: string | Uint8Array): Promise<Source> {
    const known =
      typeof picture === "string"
        ? (this.#request.kept.get(picture) ?? this.kept.get(picture))
        : undefined;
    return known ? sourceOf(known) : this.#read(picture);
  }

  async #read(picture: string | Uint8Array): Promise<Source> {
    if (!crops) {
      const pixels = await decodePicture(picture, data);
      const square = { pixels, width: size, height: size, fingerprint: fingerprint(pixels) };
      this.#keep(picture, square);
      return sourceOf(square);
    }
    const opened = await Picture.open(picture, data);
    const print = fingerprint(opened.bytes);
    const largest = (fit === "contain" ? Math.max : Math.min)(opened.width, opened.height) / size;
    if (largest <= KEPT_REDUCTION && !opened.shrinks(largest)) {
      const whole = { ...(await opened.raster()), fingerprint: print };
      this.#keep(picture, whole);
      return sourceOf(whole);
    }
    return {
      fingerprint: print,
      view: async (draw) => toChannels(await opened.view(draw(opened), size)),
    };
  }

  #keep(picture: string | Uint8Array, { pixels, ...rest }: Decoded): void {
    if (!this.#request.keep || typeof picture !== "string") return;
    const shared = new Uint8Array(new SharedArrayBuffer(pixels.length));
    shared.set(pixels);
    this.kept.set(picture, { ...rest, pixels: shared });
  }
}

function sourceOf({ fingerprint, ...raster }: Decoded): Source {
  return {
    fingerprint,
    view: async (draw) => {
      // Without crops, what was decoded is the view.
      if (!crops) return raster.pixels;
      return toChannels(resample(raster, draw(raster), size, data.background ?? WHITE));
    },
  };
}

function toChannels(rgb: Uint8Array): Uint8Array {
  return channels === 3 ? rgb : greyOf(rgb);
}

/** A whole number of 52 bits that differs between different bytes: two FNV-1a hashes, over words. */
function fingerprint(bytes: Uint8Array): number {
  let a = 0x811c9dc5;
  let b = 0x050c5d1f;
  const mix = (value: number) => {
    a = Math.imul(a ^ value, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b ^ value, 0x01000193) + (a >>> 17);
  };
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  for (const word of new Int32Array(buffer, byteOffset, length >> 2)) mix(word);
  for (let i = length - (length % 4); i < length; i++) mix(bytes[i]!);
  return (a >>> 0) * 2 ** 20 + (b >>> 12);
}

async function load(request: LoadRequest): Promise<LoadReply> {
  const { id, pictures } = request;
  const sources = new Sources(request);
  const length = channels * size ** 2;
  const empty = () => new Float32Array(pictures.length * length);
  const pixels = empty();
  const views = data.views.map(empty);
  const fingerprints = new Float64Array(pictures.length);
  const thumbnails = new Map<number, Uint8Array<ArrayBuffer>>();
  /** Writes one picture's pixels, or tells why it cannot be read; bugs are thrown. */
  const fill = async (index: number): Promise<string | undefined> => {
    const { picture, augmentKey, blend } = pictures[index]!;
    try {
      const source = await sources.get(picture);
      fingerprints[index] = source.fingerprint;
      const second = blend && (await sources.get(blend.picture).catch(() => undefined));
      for (const [view, batch] of [pixels, ...views].entries()) {
        const key = augmentKey && (view === 0 ? augmentKey : [...augmentKey, "view", view]);
        const out = batch.subarray(index * length, (index + 1) * length);
        await draw(source, out, changes[view]!, key);
        if (second) {
          const other = new Float32Array(length);
          await draw(second, other, changes[view]!, key);
          for (let i = 0; i < length; i++) out[i]! += blend.weight * (other[i]! - out[i]!);
        }
      }
      if (data.thumbnailSize !== undefined && typeof picture !== "string") {
        const thumbnail = await thumbnailOf(picture, data.thumbnailSize);
        if (thumbnail) thumbnails.set(index, thumbnail);
      }
    } catch (error) {
      if (error instanceof UnreadablePicture) return error.reason;
      throw error;
    }
    return undefined;
  };
  const reasons = await Promise.all(pictures.map((_, index) => limited(() => fill(index))));
  const failed: { index: number; reason: string }[] = [];
  for (const [index, first] of reasons.entries()) {
    if (first === undefined) continue;
    // Once more, alone: libvips keeps one error text for all threads, so only now is it most likely this
    // picture's own.
    const reason = await fill(index);
    if (reason === undefined) continue;
    failed.push({ index, reason });
    // What was written before it failed.
    for (const batch of [pixels, ...views]) batch.fill(0, index * length, (index + 1) * length);
    fingerprints[index] = 0;
  }
  return { id, pixels, views, fingerprints, failed, thumbnails, kept: sources.kept };
}

/** Writes a view of a picture, changed by the random numbers of `key` or as it is without. */
async function draw(
  source: Source,
  out: Float32Array,
  { crop, ...changes }: AugmentOptions,
  key: readonly (string | number)[] | undefined,
): Promise<void> {
  const square = await source.view((extent) =>
    key && crop
      ? drawWindow(extent, fit, crop, random(...key, "crop"))
      : centreWindow(extent, size, fit),
  );
  if (key === undefined) normaliseInto(out, square, data);
  else augmentInto(out, square, data, changes, random(...key));
}

const port = parentPort!;
// The next load begins while the last pictures of one are decoded. A failure here is not a picture's: it ends
// the thread, and the loader reports it.
port.on("message", async (request: LoadRequest) => {
  const reply = await load(request);
  const arrays = [reply.pixels, ...reply.views, reply.fingerprints, ...reply.thumbnails.values()];
  port.postMessage(
    reply,
    arrays.map(({ buffer }) => buffer),
  );
});
