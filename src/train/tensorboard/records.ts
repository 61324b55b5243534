import crc32c from "crc-32/crc32c.js";

/** Bytes before and after a record's own: its length and a checksum of that; a checksum of its data. */
const HEADER = 12;
const FOOTER = 4;

/**
 * A record as TFRecord files hold it: uint64 length, masked CRC of the length, data, masked CRC of the
 * data, all little-endian.
 */
export function frame(data: Uint8Array): Buffer {
  const record = Buffer.alloc(HEADER + data.length + FOOTER);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(maskedCrc(record.subarray(0, 8)), 8);
  record.set(data, HEADER);
  record.writeUInt32LE(maskedCrc(data), HEADER + data.length);
  return record;
}

/** A record's data, and where the record ends in the file. */
export interface FramedRecord {
  readonly data: Uint8Array;
  readonly end: number;
}

/** The records of a file up to the first that is torn or damaged. */
export function* readFrames(file: Buffer): Generator<FramedRecord> {
  for (let at = 0; at + HEADER + FOOTER <= file.length; ) {
    if (file.readUInt32LE(at + 8) !== maskedCrc(file.subarray(at, at + 8))) return;
    const start = at + HEADER;
    const end = start + Number(file.readBigUInt64LE(at));
    if (end + FOOTER > file.length) return;
    const data = file.subarray(start, end);
    if (file.readUInt32LE(end) !== maskedCrc(data)) return;
    at = end + FOOTER;
    yield { data, end: at };
  }
}

/** CRC-32C, turned and shifted: checksums of data that hold checksums are poor. */
export function maskedCrc(data: Uint8Array): number {
  const crc = crc32c.buf(data) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
