import type { FileHandle } from "node:fs/promises";
import { ClipsmithError } from "../util/errors.js";
import { findStateDict } from "./find-state-dict.js";
import { readFully, withFile } from "./read-file.js";
import { copyTensor, readTensor } from "./read-torch-tensor.js";
import type { SafetensorsTensor } from "./safetensors.js";
import { arrays } from "./safetensors-header.js";
import type { TorchTensor } from "./torch-tensor.js";
import { readTorchPickle, type TorchValue } from "./torch-value.js";
import { entryStart, readZipDirectory, ZIP_SIGNATURE, type ZipEntry } from "./zip.js";

/** The pickled number that files of torch before 1.6 begin with, and those saved in that format since. */
const LEGACY_SIGNATURE = Buffer.from("80028a0a6cfc9c46f9206aa850192e", "hex");

/**
 * Reads the tensors of the state dict in a PyTorch checkpoint (`.pt`, `.pth`, `.bin`; the zip format of
 * torch 1.6 and later). Nothing in the file is run.
 *
 * @param key where the state dict lies among nested dicts, its keys joined by dots, such as `"model"`;
 *   default: wherever the only one lies, see {@link findStateDict}
 * @throws ClipsmithError as {@link TorchCheckpoint.open} and {@link findStateDict} do
 */
export async function readTorch(
  path: string,
  key?: string,
): Promise<Map<string, SafetensorsTensor>> {
  const checkpoint = await TorchCheckpoint.open(path);
  return checkpoint.read(findStateDict(path, checkpoint.value, key));
}

/** A PyTorch checkpoint, whose tensors are read on request: a file may hold far more than is wanted. */
export class TorchCheckpoint {
  readonly path: string;
  /** All that was saved: most often a state dict, or a dict that holds one. What is not known is opaque. */
  readonly value: TorchValue;
  /** By name inside the archive's folder. */
  readonly #entries: ReadonlyMap<string, ZipEntry>;

  private constructor(path: string, value: TorchValue, entries: ReadonlyMap<string, ZipEntry>) {
    this.path = path;
    this.value = value;
    this.#entries = entries;
  }

  /**
   * Reads what a checkpoint holds, but for the numbers in its tensors.
   *
   * @throws ClipsmithError if the file is cut short or damaged, is of another format (among them torch's
   *   own before 1.6, and TorchScript)
   */
  static open(path: string): Promise<TorchCheckpoint> {
    return withFile(path, async (file) => {
      await checkSignature(path, file);
      const entries = inFolder(path, await readZipDirectory(path, file));
      const order = entries.get("byteorder");
      if (order && Buffer.from(await readEntry(path, file, order)).toString() !== "little") {
        throw new ClipsmithError(
          `${path} was saved on a big-endian machine. Save it again on a usual one.`,
        );
      }
      const pickle = await readEntry(path, file, entries.get("data.pkl")!);
      return new TorchCheckpoint(path, readTorchPickle(path, pickle), entries);
    });
  }

  /**
   * Reads tensors of this checkpoint, each into an array of its own, row-major. Names that stand for the
   * same view of the same storage share one.
   *
   * @throws ClipsmithError if the file is damaged
   */
  read(tensors: ReadonlyMap<string, TorchTensor>): Promise<Map<string, SafetensorsTensor>> {
    return withFile(this.path, async (file) => {
      const views = new Map<string, SafetensorsTensor>();
      const read = new Map<string, SafetensorsTensor>();
      for (const [name, tensor] of tensors) {
        const { storage, offset, shape, strides } = tensor;
        if (storage.bytes !== undefined) {
          read.set(name, copyTensor(tensor, storage.bytes));
          continue;
        }
        const view = JSON.stringify([storage.key, storage.dtype, offset, shape, strides]);
        const found = views.get(view) ?? (await this.#readTensor(file, name, tensor));
        views.set(view, found);
        read.set(name, found);
      }
      return read;
    });
  }

  async #readTensor(
    file: FileHandle,
    name: string,
    tensor: TorchTensor,
  ): Promise<SafetensorsTensor> {
    const { key, dtype, length } = tensor.storage;
    const entry = this.#entries.get(`data/${key}`);
    const bytes = length * arrays[dtype].BYTES_PER_ELEMENT;
    // Of no numbers at all, nothing need be there.
    if (entry?.bytes !== bytes && bytes > 0) {
      throw new ClipsmithError(
        `${this.path} is damaged: tensor ${name}: expected ${bytes} bytes in data/${key}, found ${entry?.bytes ?? "none"}. Copy or download it again.`,
      );
    }
    const start = entry ? await entryStart(this.path, file, entry) : 0;
    return readTensor(this.path, file, start, tensor);
  }
}

async function checkSignature(path: string, file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const first = Buffer.alloc(Math.min(size, LEGACY_SIGNATURE.length));
  await readFully(path, file, first, 0);
  if (first.equals(LEGACY_SIGNATURE)) {
    throw new ClipsmithError(
      `${path} is in the format of torch before 1.6. Save it again in today's, with torch: torch.save(torch.load(FILE, map_location="cpu"), NEW_FILE).`,
    );
  }
  if (!first.subarray(0, ZIP_SIGNATURE.length).equals(ZIP_SIGNATURE)) {
    throw new ClipsmithError(
      `${path} is not a PyTorch checkpoint: expected a zip archive, ${size === 0 ? "the file is empty" : `found a file that begins with the bytes ${first.toString("hex", 0, 4)}`}.`,
    );
  }
}

/** The entries of the one folder that a checkpoint's archive has, without its name. */
function inFolder(path: string, archive: ReadonlyMap<string, ZipEntry>): Map<string, ZipEntry> {
  const folder = [...archive.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name))?.split("/")[0];
  if (folder === undefined) {
    throw new ClipsmithError(
      `${path} is not a PyTorch checkpoint: the zip archive that it is has no data.pkl in a folder.`,
    );
  }
  const entries = new Map<string, ZipEntry>();
  for (const [name, entry] of archive) {
    if (name.startsWith(`${folder}/`)) entries.set(name.slice(folder.length + 1), entry);
  }
  if ([...entries.keys()].some((name) => name === "constants.pkl" || name.startsWith("code/"))) {
    throw new ClipsmithError(
      `${path} is a TorchScript archive: a program with its weights. Save the weights alone, with torch: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE).`,
    );
  }
  return entries;
}

async function readEntry(path: string, file: FileHandle, entry: ZipEntry): Promise<Uint8Array> {
  const bytes = new Uint8Array(entry.bytes);
  await readFully(path, file, bytes, await entryStart(path, file, entry));
  return bytes;
}
