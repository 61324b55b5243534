import { readFileSync } from "node:fs";

/** The functions of optimizer.as.ts; pointers are byte offsets in the memory, multiples of 16. */
export interface OptimizerKernel {
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
  lion(
    parameter: number,
    gradient: number,
    m: number,
    count: number,
    scale: number,
    keep: number,
    take1: number,
    take2: number,
    stepSize: number,
  ): void;
  average(mean: number, value: number, count: number, take: number): void;
}

let compiled: WebAssembly.Module | undefined;

/** The kernel, working on the bytes of `memory`. */
export function optimizerKernel(memory: WebAssembly.Memory): OptimizerKernel {
  compiled ??= new WebAssembly.Module(readFileSync(new URL("./optimizer.wasm", import.meta.url)));
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
  return exports as unknown as OptimizerKernel;
}
