/** `npm run shapes -- --out DIR --count 50000`: a collection of any size to try things with. */
import { Command } from "commander";
import { count, number } from "../../src/cli/arguments.js";
import { ClipsmithError } from "../../src/util/errors.js";
import { writeShapes } from "./shards.js";

interface Options {
  readonly out: string;
  readonly count: number;
  readonly size: number;
  readonly perShard: number;
  readonly seed: number;
}

const { out, ...options } = new Command("npm run shapes --")
  .description("Paint pictures of coloured shapes, with captions, into WebDataset shards.")
  .requiredOption("--out <dir>", "where the shards go")
  .option("--count <n>", "how many pictures", count, 50_000)
  .option("--size <pixels>", "height and width of a picture", count, 256)
  .option("--per-shard <n>", "pictures in a shard", count, 1000)
  .option("--seed <n>", "equal seeds give equal pictures", number, 0)
  .parse()
  .opts<Options>();

const start = performance.now();
try {
  await writeShapes(out, {
    ...options,
    onProgress: (done, total) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      console.log(`${done} of ${total} pictures, ${seconds} s`);
    },
  });
} catch (error) {
  if (!(error instanceof ClipsmithError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
