import { availableParallelism, cpus } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import { place } from "../distributed/index.js";
import type { RuntimeOptions } from "../runtime/index.js";

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

/**
 * The runtime options among a command's options.
 *
 * @throws ClipsmithError if this machine does not have them, before anything is done.
 */
export async function checkRuntime(given: RuntimeOptions): Promise<RuntimeOptions> {
  const flags = { ...runtimeOfRank(), ...given };
  const [{ graph, input, neg }, { Program }] = await Promise.all([
    import("../graph/index.js"),
    import("../runtime/index.js"),
  ]);
  const options = {
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(flags.provider !== undefined && { provider: flags.provider }),
    // The processor has no number.
    ...(flags.provider !== undefined &&
      flags.provider !== "cpu" &&
      flags.device && { device: flags.device }),
  };
  const probe = await Program.compile(graph({ y: neg(input("x", [1])) }), options);
  await probe.release();
  return options;
}

/** Ranks of a host share its processors, and take a GPU each. */
function runtimeOfRank(): RuntimeOptions {
  const { localRank, localSize } = place();
  if (localSize === 1) return {};
  const share = Math.floor(cpus().length / localSize);
  // A launcher may have bound this process to some processors already.
  const threads = Math.max(1, Math.min(share, availableParallelism()));
  return { threads, device: localRank };
}
