/** For tests: small pickles, zip archives and PyTorch checkpoints, made by hand. */

/** Operations of a pickle. */
export type Pickled = Buffer;

const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};

export const none = Buffer.from("N");
export const integer = (value: number) => Buffer.concat([Buffer.from("J"), uint32(value)]);
export const text = (value: string) => {
  const utf8 = Buffer.from(value);
  return Buffer.concat([Buffer.from("X"), uint32(utf8.length), utf8]);
};
export const tuple = (...items: readonly Pickled[]) =>
  Buffer.concat([Buffer.from("("), ...items, Buffer.from("t")]);
export const list = (...items: readonly Pickled[]) =>
  Buffer.concat([Buffer.from("]("), ...items, Buffer.from("e")]);
export const dict = (entries: Readonly<Record<string, Pickled>>) =>
  Buffer.concat([
    Buffer.from("}("),
    ...Object.entries(entries).flatMap(([key, value]) => [text(key), value]),
    Buffer.from("u"),
  ]);
export const global = (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`);
export const call = (callee: Pickled, ...args: readonly Pickled[]) =>
  Buffer.concat([callee, tuple(...args), Buffer.from("R")]);
export const program = (value: Pickled) =>
  Buffer.concat([Buffer.from("\x80\x02", "latin1"), value, Buffer.from(".")]);

export interface PickledTensor {
  readonly storage?: string;
  readonly key: string;
  readonly length: number;
  readonly offset?: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

export function tensor({
  storage = "FloatStorage",
  key,
  length,
  offset = 0,
  shape,
  strides,
}: PickledTensor): Pickled {
  const id = tuple(
    text("storage"),
    global("torch", storage),
    text(key),
    text("cpu"),
    integer(length),
  );
  return call(
    global("torch._utils", "_rebuild_tensor_v2"),
    Buffer.concat([id, Buffer.from("Q")]),
    integer(offset),
    tuple(...shape.map(integer)),
    tuple(...strides.map(integer)),
    Buffer.from("\x89", "latin1"),
    call(global("collections", "OrderedDict")),
  );
}

export interface ZipSettings {
  /** What the directory says of compression; 0: stored. */
  readonly method?: number;
  /** Keep sizes and places in 64-bit fields, as large files do. */
  readonly large?: boolean;
}

/** A zip archive of files, by name. */
export function zip(
  files: Readonly<Record<string, Uint8Array | string>>,
  { method = 0, large = false }: ZipSettings = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, contents] of Object.entries(files)) {
    const content = Buffer.from(contents);
    // The extra field differs from the directory's, as where PyTorch aligns storages.
    const local = Buffer.alloc(30 + name.length + 5);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(name.length, 26);
    local.writeUInt16LE(5, 28);
    local.write(name, 30);
    const central = Buffer.alloc(46 + name.length + (large ? 28 : 0));
    central.writeUInt32LE(0x02014b50);
    central.writeUInt16LE(method, 10);
    const sizes = [content.length, content.length, at];
    for (const [i, field] of [24, 20, 42].entries()) {
      central.writeUInt32LE(large ? 0xffffffff : sizes[i]!, field);
      if (large) central.writeBigUInt64LE(BigInt(sizes[i]!), 46 + name.length + 4 + 8 * i);
    }
    central.writeUInt16LE(name.length, 28);
    central.write(name, 46);
    if (large) {
      central.writeUInt16LE(28, 30);
      central.writeUInt16LE(1, 46 + name.length);
      central.writeUInt16LE(24, 46 + name.length + 2);
    }
    parts.push(local, content);
    directory.push(central);
    at += local.length + content.length;
  }
  const directoryBytes = directory.reduce((sum, { length }) => sum + length, 0);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt32LE(large ? 0xffffffff : directoryBytes, 12);
  end.writeUInt32LE(large ? 0xffffffff : at, 16);
  return Buffer.concat([...parts, ...directory, ...(large ? end64(at, directoryBytes) : []), end]);
}

function end64(start: number, bytes: number): Buffer[] {
  const end = Buffer.alloc(56);
  end.writeUInt32LE(0x06064b50);
  end.writeBigUInt64LE(BigInt(bytes), 40);
  end.writeBigUInt64LE(BigInt(start), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50);
  locator.writeBigUInt64LE(BigInt(start + bytes), 8);
  return [end, locator];
}

/** The archive that torch.save makes of a value, with the numbers of its storages by key. */
export function checkpoint(
  value: Pickled,
  storages: Readonly<Record<string, ArrayBufferView>> = {},
  more: Readonly<Record<string, string>> = {},
  settings: ZipSettings = {},
): Buffer {
  const files: Record<string, Uint8Array | string> = { "saved/data.pkl": program(value) };
  for (const [key, { buffer, byteOffset, byteLength }] of Object.entries(storages)) {
    files[`saved/data/${key}`] = new Uint8Array(buffer, byteOffset, byteLength);
  }
  for (const [name, content] of Object.entries(more)) files[`saved/${name}`] = content;
  return zip(files, settings);
}

/** A checkpoint of float32 tensors by name, each in a storage of its own. */
export function stateDictFile(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>,
): Buffer {
  const storages: Record<string, Float32Array> = {};
  const values: Record<string, Pickled> = {};
  for (const [name, { shape, data }] of tensors) {
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    values[name] = tensor({ key: name, length: data.length, shape, strides });
    storages[name] = data;
  }
  return checkpoint(dict(values), storages);
}
