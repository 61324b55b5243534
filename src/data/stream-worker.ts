/** The thread behind StreamThread: opens the sources, reads and shuffles them, sends entries on request. */
import { parentPort, workerData } from "node:worker_threads";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { takePart } from "./held-out.js";
import { openSource } from "./open-source.js";
import { openStream } from "./open-stream.js";
import type { SampleStream, Streamed } from "./stream.js";
import type { StreamPosition } from "./stream-position.js";
import type { StreamReply, StreamThreadData } from "./stream-thread.js";

const data = workerData as StreamThreadData;
const port = parentPort!;

/** Chunks are smaller where pictures are large. */
const MAX_CHUNK_BYTES = 2 ** 25;

async function open(): Promise<SampleStream> {
  const { sources, chunk, ...options } = data;
  const opened = sources.map(async (source) => {
    if (!("spec" in source)) return source;
    const { spec, options, heldOut } = source;
    const all = await openSource(spec, options);
    return heldOut === undefined ? all : takePart(all, heldOut, false);
  });
  return openStream({ ...options, sources: await Promise.all(opened) });
}

/** The next entries; pictures are copied, for what they lie in may be shared, and handed over. */
async function nextChunk(stream: SampleStream) {
  const chunk: { entry: Streamed; position: StreamPosition }[] = [];
  const transfers: ArrayBuffer[] = [];
  let bytes = 0;
  while (chunk.length < data.chunk && bytes < MAX_CHUNK_BYTES) {
    const entry = await stream.next();
    const { position } = stream;
    if ("reason" in entry || typeof entry.picture === "string") {
      chunk.push({ entry, position });
    } else {
      const picture = new Uint8Array(entry.picture);
      transfers.push(picture.buffer);
      bytes += picture.length;
      chunk.push({ entry: { ...entry, picture }, position });
    }
  }
  return { chunk, transfers };
}

let stream: Promise<SampleStream> | undefined;
/** Settles when all chunks asked for so far are sent. */
let queue = Promise.resolve();
port.on("message", () => {
  queue = queue.then(async () => {
    try {
      stream ??= open();
      const { chunk, transfers } = await nextChunk(await stream);
      port.postMessage({ chunk } satisfies StreamReply, transfers);
    } catch (error) {
      const reply: StreamReply = {
        message: messageOf(error),
        isClipsmith: error instanceof ClipsmithError,
      };
      port.postMessage(reply);
    }
  });
});
