import { readFileSync } from "node:fs";

/** The functions of adamw.as.ts; pointers are byte offsets in the memory, multiples of 16. */
export interface AdamWKernel {
  sumOfSquares(pointer: number, count: number): number;
  adamw(
    parameter: number,
    gradient: number,
    m: number,
    v: number,
    count: number,
    scale: number,
    keep: number,
    take1: number,
    keep2: number,
    take2: number,
    root2: number,
    epsilon: number,
    stepSize: number,
  ): void;
}

let compiled: WebAssembly.Module | undefined;

/** The kernel, working on the bytes of `memory`. */
export function adamwKernel(memory: WebAssembly.Memory): AdamWKernel {
  compiled ??= new WebAssembly.Module(readFileSync(new URL("./adamw.wasm", import.meta.url)));
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
  return exports as unknown as AdamWKernel;
}
