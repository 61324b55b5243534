import { Command, InvalidArgumentError } from "commander";
import type { ColumnOptions } from "../data/columns.js";
import { place } from "../distributed/index.js";
import type { EmbedOptionsInput, Part } from "../embed/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { counted } from "../util/counted.js";
import { quote } from "../util/shell.js";
import {
  checkRuntime,
  columnsOf,
  count,
  number,
  withColumnOptions,
  withRuntimeOptions,
} from "./arguments.js";
import { EmbeddingProgress } from "./embedding-progress.js";
import { openSources } from "./open-collections.js";
import { print, skippedSummary } from "./print.js";
import { openModel, withoutQuery } from "./run-folder.js";
import { stopOnSignals } from "./signals.js";

interface EmbedFlags extends EmbedOptionsInput, RuntimeOptions, ColumnOptions {
  readonly out: string;
  readonly shard?: Part;
}

/** `clipsmith embed`: pictures of any source as embeddings, in shards. */
export function embedCommand(): Command {
  const command = new Command("embed")
    .summary("turn pictures of any source into embeddings")
    .description(
      "Embeds the pictures of collections of any kind and size into a folder of shards, Parquet and " +
        "safetensors, which `clipsmith index` makes searchable. The same command goes on with what was " +
        "stopped or killed. Pictures need no captions.",
    )
    .argument("<run>", "folder of the trained model")
    .argument(
      "<collections...>",
      "folder of pictures; or a .csv, .tsv, .json or .jsonl list; or .tar, .parquet or .zip files, or a folder of them, on " +
        "disk, at https:// or s3://; or several of these",
    )
    .requiredOption("--out <dir>", "folder for the embeddings")
    .option(
      "--shard <i/n>",
      "do part i of n, from 0; all parts share --out. Default: all, or under mpirun and srun what falls to the process",
      partOf,
    )
    .option("--texts", "embed the captions, too")
    .option("--shard-size <n>", "pictures in a shard of the output; default: 10000", count)
    .option("--batch-size <n>", "pictures that go through the model at a time; default: 64", count)
    .option(
      "--workers <n>",
      "threads that prepare pictures; default: one for every four cores, at most four",
      count,
    )
    .option(
      "--thumbnail-size <px>",
      "longest side of the small copies that are kept of pictures in shards, for the search page; 0: none; " +
        "default: 192",
      number,
    )
    .option(
      "--max-skipped-rate <x>",
      "stop when more than this part of the samples cannot be used; default: 0.2",
      number,
    )
    .option("--skip-unreadable", "skip what is out of reach of a shard rather than stop")
    .addHelpText(
      "after",
      `
Examples:
  clipsmith embed runs/photos photos --out embeddings
  clipsmith embed runs/photos "s3://bucket/shards/" --out embeddings --shard 0/4
  mpirun -n 4 clipsmith embed runs/photos "shards/{00000..00099}.tar" --out embeddings
  clipsmith index runs/photos embeddings`,
    );
  return withRuntimeOptions(withColumnOptions(command)).action(embedRun);
}

async function embedRun(
  run: string,
  collections: readonly string[],
  flags: EmbedFlags,
): Promise<void> {
  const { out, shard, threads, provider, pictureColumn, captionColumn, ...options } = flags;
  const runtime = await checkRuntime(flags);
  const part = shard ?? partFrom(process.env);
  const { embed } = await import("../embed/index.js");
  const signal = stopOnSignals(
    "Stopping after this batch; what is embedded is kept. Once more ends at once.",
  );
  const model = await openModel(run, runtime);
  let progress: EmbeddingProgress | undefined;
  try {
    const sources = await openSources(collections, columnsOf({ pictureColumn, captionColumn }));
    const result = await embed({
      ...options,
      model,
      sources,
      out,
      part,
      signal,
      onStart: ({ pictures, portions, total }) => {
        if (part.count > 1) print(`Part ${part.index} of ${part.count}, counted from 0.`);
        if (pictures > 0) print(`Going on after ${counted(pictures, "picture")}.`);
        progress = new EmbeddingProgress({ total, done: pictures, shards: portions });
      },
      onProgress: ({ pictures, portions, waitSeconds, news }) => {
        for (const line of news) progress!.message(line);
        progress!.update(pictures, portions, waitSeconds);
      },
    }).finally(() => progress?.stop());
    print(...skippedSummary(result.skipped, result.skippedPath));
    if (!result.finished) {
      print(
        `Stopped after ${counted(result.pictures, "picture")}. Go on with:`,
        `  ${thisCommand()}`,
      );
      return;
    }
    const before = result.embedded === 0 && result.pictures > 0;
    print(
      before
        ? `All ${counted(result.pictures, "picture")} had been embedded before.`
        : `Embedded ${counted(result.pictures, "picture")} into ${out}.`,
      part.count > 1
        ? "When all parts are there, make them searchable:"
        : "Make them searchable, and search them:",
      `  clipsmith index ${quote(run)} ${quote(out)}`,
      `  clipsmith serve ${quote(run)}`,
    );
  } finally {
    await model.release();
  }
}

/** A part written as i/n. */
function partOf(text: string): Part {
  const [, index, parts] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (index === undefined) throw new InvalidArgumentError("It is not of the form i/n, as 0/4 is.");
  const part = { index: Number(index), count: Number(parts) };
  if (part.index < part.count) return part;
  throw new InvalidArgumentError(
    part.count === 0
      ? "There must be at least one part."
      : `Parts count from 0: 0/${part.count} to ${part.count - 1}/${part.count}.`,
  );
}

/** The part that falls to a process by how it was started. */
function partFrom(environment: NodeJS.ProcessEnv): Part {
  const { rank, size, launcher } = place(environment);
  if (launcher !== undefined) return { index: rank, count: size };
  // Parts need not know of each other, so that an srun without MPI is enough.
  const { SLURM_PROCID: index, SLURM_STEP_NUM_TASKS: tasks } = environment;
  if (index !== undefined && tasks !== undefined) return partOf(`${index}/${tasks}`);
  return { index: 0, count: 1 };
}

/** The command that this process was started by, without what signs addresses. */
function thisCommand(): string {
  const words = process.argv.slice(2).map((word) => quote(withoutQuery(word)));
  return ["clipsmith", ...words].join(" ");
}
