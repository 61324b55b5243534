import { readFileSync } from "node:fs";

/** The functions of pixels.as.ts; pointers are byte offsets in the memory. */
export interface PixelKernel {
  across(
    source: number,
    sourceStride: number,
    rows: number,
    target: number,
    targetStride: number,
    count: number,
    starts: number,
    weights: number,
    pairs: number,
  ): void;
  down(
    source: number,
    target: number,
    stride: number,
    count: number,
    starts: number,
    weights: number,
    pairs: number,
  ): void;
  change(
    source: number,
    size: number,
    channels: number,
    place: number,
    fill: number,
    tint: number,
    scratch: number,
    target: number,
    plane: number,
  ): void;
}

const PAGE = 2 ** 16;
let shared: { readonly memory: WebAssembly.Memory; readonly kernel: PixelKernel } | undefined;

/** Places for arrays in the memory of the thread's one kernel, which grows to the largest asked for. */
export class KernelMemory {
  #end = 0;
  readonly #writes: (readonly [number, ArrayBufferView])[] = [];

  /** The first of so many bytes, a multiple of 16. */
  place(byteLength: number): number {
    const start = this.#end;
    this.#end = start + Math.ceil(byteLength / 16) * 16;
    return start;
  }

  /** A place that {@link reserve} copies an array to, with `slack` bytes after it. */
  write(array: ArrayBufferView, slack = 0): number {
    const start = this.place(array.byteLength + slack);
    this.#writes.push([start, array]);
    return start;
  }

  /** The kernel and its memory; both are the next user's after the next reserve. */
  reserve(): { kernel: PixelKernel; bytes: Uint8Array<ArrayBuffer> } {
    if (shared === undefined) {
      const memory = new WebAssembly.Memory({ initial: 1 });
      const wasm = readFileSync(new URL("./pixels.wasm", import.meta.url));
      const module = new WebAssembly.Module(wasm);
      const { exports } = new WebAssembly.Instance(module, { env: { memory } });
      shared = { memory, kernel: exports as unknown as PixelKernel };
    }
    const { memory, kernel } = shared;
    const missing = this.#end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    const bytes = new Uint8Array(memory.buffer);
    for (const [start, { buffer, byteOffset, byteLength }] of this.#writes) {
      bytes.set(new Uint8Array(buffer, byteOffset, byteLength), start);
    }
    return { kernel, bytes };
  }
}
