import { graph, input, matmul } from "../src/graph/index.js";
import { Program } from "../src/runtime/index.js";

const SIDE = 2048;
const ROUNDS = 8;

/** The fastest matrix product that ONNX Runtime makes here, in GFLOP/s: 2048 x 2048, best of several. */
export async function sgemmCeiling(threads: number): Promise<number> {
  const a = input("a", [SIDE, SIDE]);
  const b = input("b", [SIDE, SIDE]);
  const program = await Program.compile(graph({ c: matmul(a, b) }), { threads });
  const feeds = { a: ramp(SIDE ** 2), b: ramp(SIDE ** 2) };
  const c = new Float32Array(SIDE ** 2);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    await program.run(feeds, { c });
    best = Math.min(best, performance.now() - start);
  }
  await program.release();
  return (2 * SIDE ** 3) / best / 1e6;
}

function ramp(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => ((i % 101) - 50) / 50);
}
