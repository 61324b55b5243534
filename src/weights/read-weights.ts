import { extname } from "node:path";
import { ClipsmithError } from "../util/errors.js";
import { readFully, withFile } from "./read-file.js";
import { readSafetensors, type SafetensorsTensor } from "./safetensors.js";
import { LENGTH_BYTES } from "./safetensors-header.js";
import { readTorch } from "./torch.js";

/**
 * Reads the tensors of a safetensors file or of a PyTorch checkpoint (`.pt`, `.pth`, `.bin`), whichever it
 * is by its content.
 *
 * @param key where a checkpoint's state dict lies among nested dicts, see {@link readTorch}
 * @throws ClipsmithError like {@link readSafetensors} and {@link readTorch}
 */
export async function readWeights(
  path: string,
  key?: string,
): Promise<Map<string, SafetensorsTensor>> {
  if (!(await isSafetensors(path))) return readTorch(path, key);
  if (key !== undefined) {
    throw new ClipsmithError(
      `${path} is a safetensors file, which nests nothing: leave out the key "${key}".`,
    );
  }
  return (await readSafetensors(path)).tensors;
}

/** By the brace that opens a safetensors header; of other files, the extension says what they should be. */
async function isSafetensors(path: string): Promise<boolean> {
  if (extname(path) === ".safetensors") return true;
  return withFile(path, async (file) => {
    const { size } = await file.stat();
    const first = Buffer.alloc(Math.min(size, LENGTH_BYTES + 1));
    await readFully(path, file, first, 0);
    return first[LENGTH_BYTES] === 0x7b;
  });
}
