import { readFileSync } from "node:fs";

/** The functions of resample.as.ts; pointers are byte offsets in the memory. */
export interface ResampleKernel {
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
}

/** The kernel, working on the bytes of `memory`. */
export function resampleKernel(memory: WebAssembly.Memory): ResampleKernel {
  const bytes = readFileSync(new URL("./resample.wasm", import.meta.url));
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  return exports as unknown as ResampleKernel;
}
