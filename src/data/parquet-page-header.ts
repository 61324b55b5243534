/** A page's header, as far as reading columns of bytes needs it. */
export interface PageHeader {
  readonly kind: "data" | "data2" | "dictionary" | "other";
  readonly compressedBytes: number;
  readonly bytes: number;
  /** Values, among them those that are missing. */
  readonly values: number;
  /** An encoding's number in the format. */
  readonly encoding: number;
  /** Bytes of the levels of a page of version 2, which stand before its values and are not compressed. */
  readonly repetitionBytes: number;
  readonly definitionBytes: number;
  readonly isCompressed: boolean;
  /** Where its content begins. */
  readonly end: number;
}

/** Numbers and structures of Thrift's compact protocol, by the numbers of their fields. */
interface Struct {
  readonly [field: number]: number | boolean | Struct | undefined;
}

const KINDS = ["data", "other", "dictionary", "data2"] as const;
/** Headers go two deep, their statistics being structures in one. */
const MOST_DEPTH = 4;

/** Reads the header at `start`. Every number in it is one that may be believed: 0 to 2^31 - 1. */
export function readPageHeader(bytes: Uint8Array, start: number): PageHeader {
  const reader = new CompactReader(bytes, start);
  const header = reader.struct();
  const kind = KINDS[count(header[1])] ?? "other";
  const detail = struct(header[{ data: 5, dictionary: 7, data2: 8, other: 6 }[kind]]);
  const isSecond = kind === "data2";
  return {
    kind,
    bytes: count(header[2]),
    compressedBytes: count(header[3]),
    values: kind === "other" ? 0 : count(detail[1]),
    encoding: kind === "other" ? 0 : count(detail[isSecond ? 4 : 2]),
    repetitionBytes: isSecond ? count(detail[6]) : 0,
    definitionBytes: isSecond ? count(detail[5]) : 0,
    isCompressed: !isSecond || detail[7] !== false,
    end: reader.offset,
  };
}

function count(value: Struct[number]): number {
  if (typeof value !== "number" || value < 0) throw new Error("a page's header is damaged");
  return value;
}

function struct(value: Struct[number]): Struct {
  if (typeof value !== "object") throw new Error("a page's header is damaged");
  return value;
}

/** Reads what Thrift's compact protocol makes of a page's header; texts in it are passed over. */
class CompactReader {
  constructor(
    readonly bytes: Uint8Array,
    public offset: number,
  ) {}

  struct(depth = 0): Struct {
    const fields: Record<number, Struct[number]> = {};
    if (depth > MOST_DEPTH) throw new Error("a page's header is damaged");
    for (let field = 0; ; ) {
      const byte = this.#byte();
      if (byte === 0) return fields;
      field = byte >> 4 === 0 ? zigzag(this.#varint()) : field + (byte >> 4);
      fields[field] = this.#value(byte & 15, depth);
    }
  }

  #value(type: number, depth: number): Struct[number] {
    switch (type) {
      case 1:
      case 2:
        return type === 1;
      case 3:
        return this.#byte();
      case 4:
      case 5:
      case 6:
        return zigzag(this.#varint());
      case 7:
        this.offset += 8;
        return undefined;
      case 8: {
        const length = this.#varint();
        this.offset += length;
        return undefined;
      }
      case 12:
        return this.struct(depth + 1);
      default:
        throw new Error("a page's header is damaged");
    }
  }

  /** Up to 64 bits; of more than 53, not all are right. */
  #varint(): number {
    return readVarint(this.bytes, this, 10);
  }

  #byte(): number {
    return byteAt(this.bytes, this);
  }
}

/** A place in bytes that moves on as they are read. */
export interface Cursor {
  offset: number;
}

export function byteAt(bytes: Uint8Array, cursor: Cursor): number {
  const byte = bytes[cursor.offset++];
  if (byte === undefined) throw new Error("a page is cut off");
  return byte;
}

/** A number of 7 bits a byte, least first, in at most so many bytes. */
export function readVarint(bytes: Uint8Array, cursor: Cursor, most = 5): number {
  let value = 0;
  for (let i = 0; i < most; i++) {
    const byte = byteAt(bytes, cursor);
    value += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return value;
  }
  throw new Error("a page is damaged: a number has too many bytes");
}

/** The number that is positive or negative in turns: 0, -1, 1, -2 for 0, 1, 2, 3. */
export function zigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
