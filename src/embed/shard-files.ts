import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import {
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { parquetWriteBuffer } from "hyparquet-writer";
import { z } from "zod";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { replaceFile } from "../util/write-file.js";
import {
  readSafetensors,
  readSafetensorsHeader,
  type SafetensorsTensor,
  writeSafetensors,
} from "../weights/index.js";
import type { Embedded, EmbeddedSample } from "./embed-entries.js";

/** The entry of the Parquet file's metadata that tells a shard's record. */
const RECORD = "clipsmith";

const recordSchema = z.strictObject({
  /** Checksum of the settings that it was made with. */
  settings: z.string(),
  /** Where its part goes on after it. */
  next: z.strictObject({ portion: z.int().min(0), entry: z.int().min(0) }),
  /** SHA-256 of the tensors' file. */
  tensors: z.string(),
});

/** What a shard of embeddings tells of itself. */
export type ShardRecord = z.output<typeof recordSchema>;

/** Names of the two files of a shard; it is complete when the first is there. */
export function shardFiles(base: string): { rows: string; tensors: string } {
  return { rows: `${base}.parquet`, tensors: `${base}.safetensors` };
}

/**
 * Writes a shard: `BASE.safetensors` with the tensors `pictures` [N, L] and perhaps `texts` [M, L], then
 * `BASE.parquet` with N rows of name, path, captions and thumbnail. Each file is there whole or not at all.
 *
 * @param width L
 * @throws ClipsmithError when one cannot be written
 */
export async function writeShard(
  base: string,
  width: number,
  { samples, embeddings, texts }: Embedded,
  record: Omit<ShardRecord, "tensors">,
): Promise<void> {
  const { rows, tensors } = shardFiles(base);
  const tensor = (data: Float32Array): SafetensorsTensor => ({
    dtype: "F32",
    shape: [data.length / width, width],
    data,
  });
  const checksum = await writeSafetensors(
    tensors,
    new Map([
      ["pictures", tensor(embeddings)],
      ...(texts ? [["texts", tensor(texts)] as const] : []),
    ]),
    { format: "clipsmith" },
  );
  const bytes = parquetWriteBuffer({
    schema: [
      { name: "root", num_children: 4 },
      { name: "name", ...TEXT, repetition_type: "REQUIRED" },
      { name: "path", ...TEXT, repetition_type: "OPTIONAL" },
      { name: "captions", converted_type: "LIST", repetition_type: "REQUIRED", num_children: 1 },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", ...TEXT, repetition_type: "REQUIRED" },
      { name: "thumbnail", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
    ],
    columnData: [
      { name: "name", data: samples.map(({ name }) => name) },
      { name: "path", data: samples.map(({ path }) => path) },
      { name: "captions", data: samples.map(({ captions }) => [...captions]) },
      {
        name: "thumbnail",
        data: samples.map(({ thumbnail }) => thumbnail),
        codec: "UNCOMPRESSED",
        statistics: false,
      },
    ],
    kvMetadata: [{ key: RECORD, value: JSON.stringify({ ...record, tensors: checksum }) }],
    createdBy: "clipsmith",
  });
  await replaceFile(rows, [new Uint8Array(bytes)]);
}

const TEXT = { type: "BYTE_ARRAY", converted_type: "UTF8" } as const;

/**
 * A shard's record and its number of rows; undefined where there is no complete and whole one.
 *
 * @throws ClipsmithError when it cannot be told
 */
export async function readRecord(
  base: string,
): Promise<(ShardRecord & { readonly rows: number }) | undefined> {
  const { rows, tensors } = shardFiles(base);
  try {
    const metadata = await parquetMetadataAsync(await asyncBufferFromFile(rows));
    const count = Number(metadata.num_rows);
    const { entries } = await readSafetensorsHeader(tensors);
    const pictures = entries.find(({ name }) => name === "pictures");
    return pictures?.shape[0] === count ? { ...recordIn(metadata), rows: count } : undefined;
  } catch (error) {
    const code = codeOf(error);
    // A shard that only cannot be read now must not be made again in its place.
    if (code !== undefined && code !== "ENOENT") {
      throw new ClipsmithError(`Cannot read ${base}: ${messageOf(error)}.`, { cause: error });
    }
    return undefined;
  }
}

/** @throws if there is none */
function recordIn({ key_value_metadata: entries }: FileMetaData): ShardRecord {
  const value = entries?.find(({ key }) => key === RECORD)?.value;
  return recordSchema.parse(JSON.parse(value ?? ""));
}

/** What the system says of a failure of its own. */
function codeOf(error: unknown): string | undefined {
  const { code, cause } = error as NodeJS.ErrnoException;
  return code ?? (cause as NodeJS.ErrnoException | undefined)?.code;
}

/** A row of the Parquet file. */
interface Row {
  readonly name: string;
  readonly path?: string | null;
  readonly captions: readonly string[];
  readonly thumbnail?: Uint8Array | null;
}

/**
 * Reads a shard.
 *
 * @param settings that it must have been made with
 * @throws ClipsmithError when its files cannot be read, are damaged, or not of one shard
 */
export async function readShard(base: string, settings: string): Promise<Embedded> {
  const { rows, tensors } = shardFiles(base);
  let record: ShardRecord;
  let samples: EmbeddedSample[];
  let bytes: Uint8Array;
  try {
    const file = await asyncBufferFromFile(rows);
    const metadata = await parquetMetadataAsync(file);
    record = recordIn(metadata);
    // Bytes are text only where the file says so.
    const found = await parquetReadObjects({ file, metadata, compressors, utf8: false });
    samples = (found as unknown as Row[]).map(sampleOf);
    bytes = await readFile(tensors);
  } catch (cause) {
    throw damaged(base, messageOf(cause), cause);
  }
  if (record.settings !== settings) throw damaged(base, "it was made with other settings");
  if (createHash("sha256").update(bytes).digest("hex") !== record.tensors) {
    throw damaged(base, "its two files are not of one shard, or one has changed");
  }
  const read = await readSafetensors(bytes);
  const numbers = (name: string) => read.tensors.get(name)?.data as Float32Array | undefined;
  const texts = numbers("texts");
  return { samples, embeddings: numbers("pictures")!, ...(texts && { texts }) };
}

function sampleOf({ name, path, captions, thumbnail }: Row): EmbeddedSample {
  return { name, captions, ...(path && { path }), ...(thumbnail && { thumbnail }) };
}

function damaged(base: string, reason: string, cause?: unknown): ClipsmithError {
  const { rows, tensors } = shardFiles(base);
  return new ClipsmithError(
    `The shard of embeddings ${base} cannot be read: ${reason}. Remove ${rows} and ${tensors}, and run the ` +
      "command that made them again.",
    { cause },
  );
}
