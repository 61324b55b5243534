/** For tests: small collections, a tiny model, and the compiled command line in processes of its own. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { readMetrics } from "../train/index.js";

const main = fileURLToPath(new URL("./main.js", import.meta.url));

/** Options of `clipsmith train` for a model that learns a step in milliseconds. */
export const tinyModel = [
  ..."dimText dimImage dimLatent".split(" ").map((name) => `clip.${name}=16`),
  ..."textEncDepth visualEncDepth".split(" ").map((name) => `clip.${name}=1`),
  ..."textDimHead visualDimHead".split(" ").map((name) => `clip.${name}=8`),
]
  .flatMap((setting) => ["--set", setting])
  .concat("--image-size 16 --patch-size 4 --batch-size 8 --threads 1".split(" "));

/** What a process left behind. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command line that runs. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Waits for a pattern in what was written so far; fails if the process ends without. */
  output(pattern: RegExp): Promise<RegExpExecArray>;
}

/** The program and first argument that stand for `clipsmith`. */
export const command = [process.execPath, main] as const;

export function start(args: readonly string[], options: SpawnOptions = {}): Running {
  return startProgram(process.execPath, [main, ...args], options);
}

export function startProgram(
  program: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Running {
  const child = spawn(program, args, { ...options, stdio: "pipe" });
  let stdout = "";
  let stderr = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  let isOver = false;
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      isOver = true;
      resolve({ code, signal, stdout, stderr });
    });
  });
  const output = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const match = pattern.exec(stdout + stderr);
      if (match) return match;
      if (isOver) throw new Error(`ended without ${pattern}: ${stdout}${stderr}`);
      await sleep(5);
    }
  };
  return { child, ended, output };
}

/** Runs a command line to its end. */
export function clipsmith(...args: readonly string[]): Promise<Ended> {
  return start(args).ended;
}

/** Waits until a run has recorded `steps` steps, or its process has ended. */
export async function untilStep({ child }: Running, run: string, steps: number): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    if ((readMetrics(join(run, "metrics.jsonl")).at(-1)?.step ?? 0) >= steps) return;
    await sleep(2);
  }
}

const COLOURS = { red: [220, 30, 30], green: [30, 200, 30], blue: [30, 30, 220] } as const;

/** Pictures of one colour each, 20 x 20, with a caption beside them; sorted by name. */
export async function makeCollection(folder: string, count: number): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < count; i++) {
    const name = (["red", "green", "blue"] as const)[i % 3]!;
    const [r, g, b] = COLOURS[name];
    const background = { r: r + Math.floor(i / 3), g, b };
    const picture = sharp({ create: { width: 20, height: 20, channels: 3, background } });
    const base = join(folder, `${String(i).padStart(3, "0")}-${name}`);
    await picture.png().toFile(`${base}.png`);
    writeFileSync(`${base}.txt`, `${name} number ${i}\n`);
  }
}

/** Adds a picture that cannot be read. */
export function addDamaged(folder: string, name = "damaged"): void {
  writeFileSync(join(folder, `${name}.png`), "no picture at all");
  writeFileSync(join(folder, `${name}.txt`), `something broken: ${name}\n`);
}
