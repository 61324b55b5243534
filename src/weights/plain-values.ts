import { Opaque, type PickleCall } from "./pickle.js";

/** Counts what calls make: throws where it is out of proportion to the pickle that asks for it. */
export type Spend = (items: number) => void;

/** A {@link Spend} for a pickle of so many bytes. What is written out there once always fits. */
export function spendWithin(pickleBytes: number): Spend {
  let left = 2 * pickleBytes;
  return (items) => {
    left -= items;
    if (left < 0) throw new Error("it makes far more than it holds");
  };
}

/** Python's own classes and functions that stand for plain data in pickles. */
export function plainGlobals(spend: Spend): ReadonlyMap<string, PickleCall> {
  const bytes = (name: string): PickleCall => {
    return ([value, encoding]) => {
      if (value === undefined) return new Uint8Array();
      if (value instanceof Uint8Array) return value;
      if (typeof value !== "string") return new Opaque(name);
      spend(value.length);
      return encoded(value, encoding) ?? new Opaque(name);
    };
  };
  return new Map<string, PickleCall>([
    ["_codecs.encode", bytes("_codecs.encode")],
    ["builtins.bytes", bytes("builtins.bytes")],
    ["builtins.bytearray", bytes("builtins.bytearray")],
    ["builtins.set", listOf],
    ["builtins.frozenset", listOf],
    ["collections.deque", listOf],
    ["collections.OrderedDict", ([pairs]) => dictOf(pairs, spend)],
    ["collections.Counter", ([counts]) => dictOf(counts, spend)],
    ["collections.defaultdict", ([, items]) => dictOf(items, spend)],
    ["copyreg._reconstructor", ([type]) => instanceOf(type)],
  ]);
}

/** In the encodings that pickles write bytes in: one byte a letter, or UTF-8. Undefined for another. */
function encoded(text: string, encoding: unknown): Uint8Array | undefined {
  const name = String(encoding).toLowerCase().replace(/[-_]/g, "");
  if (name !== "latin1" && name !== "iso88591" && name !== "utf8") return undefined;
  return Uint8Array.from(Buffer.from(text, name === "utf8" ? "utf8" : "latin1"));
}

const listOf: PickleCall = ([items]) => (Array.isArray(items) && items.length > 0 ? items : []);

/** Of a dict, or of pairs of keys and values. */
function dictOf(items: unknown, spend: Spend): Map<unknown, unknown> | Opaque {
  if (items instanceof Map || items instanceof Opaque) return items;
  const dict = new Map<unknown, unknown>();
  if (items === undefined) return dict;
  if (!Array.isArray(items)) throw new Error("it makes a dict of what is none");
  spend(items.length);
  for (const pair of items) {
    if (!Array.isArray(pair) || pair.length !== 2)
      throw new Error("a dict has a key without a value");
    dict.set(pair[0], pair[1]);
  }
  return dict;
}

/** How protocols 0 and 1 make an object of a class. */
function instanceOf(type: unknown): unknown {
  if (type instanceof Opaque) return type;
  if (typeof type !== "function") throw new Error("it calls what is no function");
  return (type as PickleCall)([]);
}
