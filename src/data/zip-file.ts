import { promisify } from "node:util";
import { inflateRaw } from "node:zlib";
import * as yauzl from "yauzl";
import { messageOf } from "../util/errors.js";
import type { Content } from "./archive-sample.js";
import { type ByteFile, readRange, standsIn, Unreadable } from "./byte-file.js";
import { decodeText } from "./decode-text.js";
import { tooLarge } from "./shard.js";

/** A file in a zip archive. */
export interface ZipMember {
  /** Its parts separated by slashes. */
  readonly path: string;
  readonly entry: yauzl.Entry;
}

/** Bytes read at once: files of an archive are mostly read in their order, and over a network each read costs. */
const BLOCK_BYTES = 2 ** 20;
const STORED = 0;
const DEFLATED = 8;
/** First bytes of an archive that holds anything. */
const SIGNATURE = "PK\x03\x04";

const inflate = promisify(inflateRaw);

/** Parts of a file, of which the last block is kept. */
class Blocks extends yauzl.RandomAccessReader {
  readonly #file: ByteFile;
  readonly #size: number;
  #start = 0;
  #block = new Uint8Array();

  constructor(file: ByteFile, size: number) {
    super();
    this.#file = file;
    this.#size = size;
  }

  /** The bytes from `start` to before `end`; to be asked for one after another. @throws Unreadable */
  async bytes(start: number, end: number): Promise<Uint8Array> {
    if (end > this.#size)
      throw new Unreadable("the shard is damaged", "its directory points behind its end");
    if (start < this.#start || end > this.#start + this.#block.length) {
      const blockEnd = Math.min(this.#size, Math.max(end, start + BLOCK_BYTES));
      this.#block = new Uint8Array(await readRange(this.#file, start, blockEnd));
      this.#start = start;
    }
    return this.#block.subarray(start - this.#start, end - this.#start);
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.bytes(position, position + length).then((bytes) => {
      buffer.set(bytes, offset);
      callback(null);
    }, callback);
  }
}

/** A zip archive, of which single files can be read. */
export class ZipFile {
  /** In the order of their bytes, without folders. */
  readonly members: readonly ZipMember[];
  readonly #zip: yauzl.ZipFile;
  readonly #blocks: Blocks;

  private constructor(zip: yauzl.ZipFile, blocks: Blocks, members: readonly ZipMember[]) {
    this.#zip = zip;
    this.#blocks = blocks;
    this.members = members;
  }

  /** Reads the directory at the archive's end. @throws Unreadable */
  static async open(file: ByteFile): Promise<ZipFile> {
    const size = await file.size();
    if (size === 0) throw new Unreadable("the shard is empty");
    const blocks = new Blocks(file, size);
    try {
      // Names are no paths of this machine: nothing is unpacked, so that any name will do.
      const options = { autoClose: false, decodeStrings: false };
      const zip = await yauzl.fromRandomAccessReaderPromise(blocks, size, options);
      const members: ZipMember[] = [];
      for await (const entry of zip.eachEntry()) {
        const path = nameOf(entry).replaceAll("\\", "/");
        if (!path.endsWith("/")) members.push({ path, entry });
      }
      const at = ({ entry }: ZipMember) => entry.relativeOffsetOfLocalHeader;
      return new ZipFile(
        zip,
        blocks,
        members.sort((a, b) => at(a) - at(b)),
      );
    } catch (error) {
      throw await explain(error, file, blocks);
    }
  }

  /**
   * What a file holds, or why that cannot be read.
   *
   * @throws Unreadable where the archive cannot be read any further
   */
  async contentOf({ entry }: ZipMember, maxBytes: number): Promise<Content> {
    const { compressionMethod: method, compressedSize, uncompressedSize } = entry;
    if (entry.isEncrypted()) return { problem: ENCRYPTED };
    if (method !== STORED && method !== DEFLATED) {
      return { problem: `its compression is not understood: method ${method}; ${UNPACK}` };
    }
    const bytes = Math.max(uncompressedSize, compressedSize);
    if (bytes > maxBytes) return { problem: tooLarge(bytes, maxBytes) };
    try {
      const header = await this.#zip.readLocalFileHeaderPromise(entry, { minimal: true });
      const start = header.fileDataStart;
      // A copy: what was read for several files at once is not kept for the sake of one.
      const stored = new Uint8Array(await this.#blocks.bytes(start, start + compressedSize));
      if (method === STORED || compressedSize === 0) return stored;
      const content = await inflate(stored, { maxOutputLength: Math.max(1, uncompressedSize) });
      if (content.length === uncompressedSize) return content;
      return { problem: "it is damaged: it is shorter than the archive's directory says" };
    } catch (error) {
      if (error instanceof Unreadable) throw error;
      return { problem: `it is damaged: ${messageOf(error)}` };
    }
  }
}

const UNPACK = "unpack the archive and name the folder";

/** Why a file is left out that needs a password. */
export const ENCRYPTED = `it is encrypted: ${UNPACK}`;

/** Programs write UTF-8 without saying so, where the format has the letters of DOS. */
function nameOf({ generalPurposeBitFlag, fileNameRaw, extraFields }: yauzl.Entry): string {
  return (
    decodeText(fileNameRaw) ??
    yauzl.getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, extraFields, false)
  );
}

/** Why an archive cannot be read, in words that can be counted. */
async function explain(error: unknown, file: ByteFile, blocks: Blocks): Promise<Unreadable> {
  if (error instanceof Unreadable) return error;
  const standIn = await standsIn(file);
  if (standIn !== undefined) return standIn;
  const message = messageOf(error);
  if (/encryption/.test(message)) return new Unreadable("the shard is encrypted", UNPACK, error);
  const first = Buffer.from(await blocks.bytes(0, SIGNATURE.length)).toString("latin1");
  const isCut = first === SIGNATURE && /End of central directory/.test(message);
  return new Unreadable(isCut ? "the shard is truncated" : "the shard is damaged", message, error);
}
