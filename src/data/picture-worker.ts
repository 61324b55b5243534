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
}

export interface LoadRequest {
  readonly id: number;
  readonly pictures: readonly {
    readonly picture: string | Uint8Array;
    readonly augmentKey?: readonly (string | number)[] | undefined;
  }[];
}

export interface LoadReply {
  readonly id: number;
  /** [N, C, H, W] */
  readonly pixels: Float32Array<ArrayBuffer>;
  readonly failed: readonly { readonly index: number; readonly reason: string }[];
}

/** libuv's threads decode four at a time by default; more would only hold memory. */
const DECODE_CONCURRENCY = 4;

const data = workerData as PictureWorkerData;
const cache = new Map<string, Uint8Array>();
let cachedBytes = 0;

/**
 * The decoded picture. The cache keeps what comes first and drops nothing: when every epoch asks for
 * every picture once, evicting one for another only loses hits.
 */
async function decoded(picture: string | Uint8Array): Promise<Uint8Array> {
  if (typeof picture !== "string") return decodePicture(picture, data);
  const known = cache.get(picture);
  if (known !== undefined) return known;
  const pixels = await decodePicture(picture, data);
  if (cachedBytes + pixels.length <= data.cacheBytes && !cache.has(picture)) {
    cache.set(picture, pixels);
    cachedBytes += pixels.length;
  }
  return pixels;
}

async function load({ id, pictures }: LoadRequest): Promise<LoadReply> {
  const length = data.channels * data.size ** 2;
  const pixels = new Float32Array(pictures.length * length);
  /** Writes one picture's pixels, or tells why it cannot be read; bugs are thrown. */
  const fill = async (index: number): Promise<string | undefined> => {
    const { picture, augmentKey } = pictures[index]!;
    let bytes: Uint8Array;
    try {
      bytes = await decoded(picture);
    } catch (error) {
      if (error instanceof ClipsmithError) return error.message;
      throw error;
    }
    const out = pixels.subarray(index * length, (index + 1) * length);
    if (augmentKey === undefined) normaliseInto(out, bytes, data);
    else augmentInto(out, bytes, data, data.augment, random(...augmentKey));
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
  return { id, pixels, failed };
}

const port = parentPort!;
// One load after the other, so that the bound on decoding holds for all of them together. A failure
// here is not a picture's: it ends the thread, and the loader reports it.
let queue = Promise.resolve();
port.on("message", (request: LoadRequest) => {
  queue = queue.then(async () => {
    const reply = await load(request);
    port.postMessage(reply, [reply.pixels.buffer]);
  });
});
