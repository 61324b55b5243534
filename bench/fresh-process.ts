import { spawnSync } from "node:child_process";

/** Calls an exported function of a module in a new process and gives what it returns, as JSON. */
export async function inFreshProcess<T>(
  module: string,
  name: string,
  ...parameters: readonly (string | number | boolean)[]
): Promise<T> {
  const code =
    `import(${JSON.stringify(module)})` +
    `.then((m) => m.${name}(...${JSON.stringify(parameters)}))` +
    ".then((result) => { console.log(JSON.stringify(result)); process.exit(0); })";
  const { status, stdout } = spawnSync(process.execPath, ["--eval", code], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) throw new Error(`${name} ended with status ${status}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as T;
}
