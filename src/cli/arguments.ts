import { availableParallelism, cpus } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import type { ColumnOptions } from "../data/columns.js";
import { place } from "../distributed/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { messageOf } from "../util/errors.js";

/** An option's value as a number; the range is checked where the number is used. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) {
    throw new InvalidArgumentError("It is not a number.");
  }
  return value;
}

/** An option's value as a whole number of at least 1. */
export function count(text: string): number {
  const value = number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError("It is not a whole number of at least 1.");
  }
  return value;
}

/** An option's value as numbers with commas between them. */
export function numbers(text: string): number[] {
  return text.split(",").map(number);
}

/** An option's value as a port, where 0 stands for any free one. */
export function port(text: string): number {
  const value = number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65535) {
    throw new InvalidArgumentError("A port is a whole number of 0 to 65535.");
  }
  return value;
}

/** All values of an option that may be repeated. */
export function repeated(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value];
}

/** A number of threads; more than processors would only be slower, and a slip can fill the memory. */
function threads(text: string): number {
  const value = count(text);
  const most = cpus().length;
  if (value > most) {
    throw new InvalidArgumentError(`This machine has ${most} processors.`);
  }
  return value;
}

/** Adds the options of where and how graphs run, which {@link checkRuntime} takes. */
export function withRuntimeOptions(command: Command): Command {
  return command
    .option("--threads <n>", "threads of one operator; default: all processors", threads)
    .option("--provider <name>", "what computes: cpu, cuda, webgpu, coreml or dml; default: cpu");
}

/** Adds the options that name a collection's columns. */
export function withColumnOptions(command: Command): Command {
  return command
    .option(
      "--picture-column <name>",
      "the column of pictures in a list or a Parquet file; default: whichever has a usual name",
    )
    .option(
      "--caption-column <name>",
      "the column of captions; default: whichever has a usual name",
    );
}

/** The columns that are named among a command's options. */
export function columnsOf({ pictureColumn, captionColumn }: ColumnOptions): ColumnOptions {
  return {
    ...(pictureColumn !== undefined && { pictureColumn }),
    ...(captionColumn !== undefined && { captionColumn }),
  };
}

/**
 * The runtime options among a command's options.
 *
 * @throws ClipsmithError if this machine does not have them, before anything is done.
 */
export async function checkRuntime(given: RuntimeOptions): Promise<RuntimeOptions> {
  const [{ graph, input, neg }, { Program }] = await Promise.all([
    import("../graph/index.js"),
    import("../runtime/index.js"),
  ]);
  const { localRank, localSize } = place();
  const options = runtimeOf(given, localSize);
  const probe = async (device: number) => {
    const program = await Program.compile(graph({ y: neg(input("x", [1])) }), {
      ...options,
      device,
    });
    await program.release();
  };
  const exists = (device: number) =>
    probe(device).then(
      () => true,
      (error) => {
        if (/invalid device ordinal/.test(messageOf(error))) return false;
        throw error;
      },
    );
  // Other providers choose the GPU themselves.
  const device = options.provider === "cuda" ? await deviceOf(localRank, exists) : 0;
  await probe(device);
  return { ...options, ...(device > 0 && { device }) };
}

/**
 * The GPU of a rank of a host: that of its own number, counted from 0. Where there are fewer GPUs, ranks share
 * them; a launcher may let each see a single one.
 *
 * @param exists whether there is such a GPU; nothing else tells how many there are.
 */
export async function deviceOf(
  localRank: number,
  exists: (device: number) => Promise<boolean>,
): Promise<number> {
  let last = localRank;
  while (last > 0 && !(await exists(last))) last--;
  return localRank % (last + 1);
}

/** What a process runs with: ranks of a host, of which there are `localSize`, share its processors. */
export function runtimeOf(
  { threads, provider = "cpu" }: RuntimeOptions,
  localSize: number,
): RuntimeOptions {
  // A launcher may have bound this process to some processors already.
  const share = Math.min(Math.floor(cpus().length / localSize), availableParallelism());
  const own = threads ?? (localSize > 1 ? Math.max(1, share) : undefined);
  return { ...(own !== undefined && { threads: own }), provider };
}
