/** The thread behind PictureLoader: decodes, keeps, changes and normalises pictures. */
import { parentPort, workerData } from "node:worker_threads";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { type AugmentOptions, augmentInto, normaliseInto, type PixelFormat } from "./augment.js";
import { mapConcurrently } from "./concurrent.js";
import { decodePicture } from "./picture.js";

/** What the thread is started with. */
export interface PictureWorkerData extends PixelFormat {
  readonly fit: "cover" | "contain";
  readonly cacheBytes: number;
  readonly augment: AugmentOptions;
  readonly views: readonly AugmentOptions[];
}

/** A second picture mixed into one, changed by the same random numbers. */
export interface Blend {
  /** The path of a file. If it cannot be read, nothing is mixed in. */
  readonly picture: string;
  /** Its part of the mixture, 0 to 1. */
  readonly weight: number;
}

export interface LoadRequest {
  readonly id: number;
  readonly pictures: readonly {
    readonly picture: string | Uint8Array;
    readonly augmentKey?: readonly (string | number)[] | undefined;
    readonly blend?: Blend;
  }[];
}

export interface LoadReply {
  readonly id: number;
  /** [N, C, H, W] */
  readonly pixels: Float32Array<ArrayBuffer>;
  /** Each [N, C, H, W] */
  readonly views: readonly Float32Array<ArrayBuffer>[];
  readonly fingerprints: Float64Array<ArrayBuffer>;
  readonly failed: readonly { readonly index: number; readonly reason: string }[];
}

interface Decoded {
  readonly pixels: Uint8Array;
  readonly fingerprint: number;
}

/** libuv's threads decode four at a time by default; more would only hold memory. */
const DECODE_CONCURRENCY = 4;

const data = workerData as PictureWorkerData;
const changes = [data.augment, ...data.views];
const cache = new Map<string, Decoded>();
let cachedBytes = 0;

/**
 * The decoded picture. The cache keeps what comes first and drops nothing: when every epoch asks for
 * every picture once, evicting one for another only loses hits.
 */
async function decoded(picture: string | Uint8Array): Promise<Decoded> {
  const known = typeof picture === "string" ? cache.get(picture) : undefined;
  if (known !== undefined) return known;
  const pixels = await decodePicture(picture, data);
  const result = { pixels, fingerprint: fingerprint(pixels) };
  if (typeof picture !== "string" || cache.has(picture)) return result;
  if (cachedBytes + pixels.length <= data.cacheBytes) {
    cache.set(picture, result);
    cachedBytes += pixels.length;
  }
  return result;
}

/** A whole number of 52 bits that differs between different pictures: two FNV-1a hashes. */
function fingerprint(pixels: Uint8Array): number {
  let a = 0x811c9dc5;
  let b = 0x050c5d1f;
  for (const value of pixels) {
    a = Math.imul(a ^ value, 0x01000193);
    b = Math.imul(b ^ value, 0x01000193) + (a >>> 17);
  }
  return (a >>> 0) * 2 ** 20 + (b >>> 12);
}

async function load({ id, pictures }: LoadRequest): Promise<LoadReply> {
  const length = data.channels * data.size ** 2;
  const empty = () => new Float32Array(pictures.length * length);
  const pixels = empty();
  const views = data.views.map(empty);
  const fingerprints = new Float64Array(pictures.length);
  /** Writes one picture's pixels, or tells why it cannot be read; bugs are thrown. */
  const fill = async (index: number): Promise<string | undefined> => {
    const { picture, augmentKey, blend } = pictures[index]!;
    try {
      const source = await decoded(picture);
      fingerprints[index] = source.fingerprint;
      const second = blend && (await decoded(blend.picture).catch(() => undefined));
      for (const [view, batch] of [pixels, ...views].entries()) {
        const key = augmentKey && (view === 0 ? augmentKey : [...augmentKey, "view", view]);
        const draw = ({ pixels: source }: Decoded, out: Float32Array) => {
          if (key === undefined) normaliseInto(out, source, data);
          else augmentInto(out, source, data, changes[view]!, random(...key));
        };
        const out = batch.subarray(index * length, (index + 1) * length);
        draw(source, out);
        if (second) {
          const other = new Float32Array(length);
          draw(second, other);
          for (let i = 0; i < length; i++) out[i]! += blend.weight * (other[i]! - out[i]!);
        }
      }
    } catch (error) {
      if (error instanceof ClipsmithError) return error.message;
      throw error;
    }
    return undefined;
  };
  const reasons = await mapConcurrently(pictures, DECODE_CONCURRENCY, (_, index) => fill(index));
  const failed: { index: number; reason: string }[] = [];
  for (const [index, first] of reasons.entries()) {
    if (first === undefined) continue;
    // Once more, alone: libvips keeps one error text for all threads, so only now is it surely this
    // picture's own.
    const reason = await fill(index);
    if (reason !== undefined) failed.push({ index, reason });
  }
  return { id, pixels, views, fingerprints, failed };
}

const port = parentPort!;
// One load after the other, so that the bound on decoding holds for all of them together. A failure
// here is not a picture's: it ends the thread, and the loader reports it.
let queue = Promise.resolve();
port.on("message", (request: LoadRequest) => {
  queue = queue.then(async () => {
    const reply = await load(request);
    const arrays = [reply.pixels, ...reply.views, reply.fingerprints];
    port.postMessage(
      reply,
      arrays.map(({ buffer }) => buffer),
    );
  });
});
