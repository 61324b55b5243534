import { once } from "node:events";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import type { RuntimeOptions } from "../runtime/index.js";
import { counted } from "../util/counted.js";
import { checkRuntime, port, repeated, withRuntimeOptions } from "./arguments.js";
import { print } from "./print.js";
import { cliFiles, openModel } from "./run-folder.js";

interface ServeFlags extends RuntimeOptions {
  readonly port?: number;
  readonly host?: string;
  readonly allowHost?: readonly string[];
}

/** `clipsmith serve`: the search page, until it is interrupted. */
export function serveCommand(): Command {
  const command = new Command("serve")
    .summary("serve a page to search the pictures and to watch trainings")
    .description(
      "Serves a page and an HTTP API to search the indexed pictures. Trainings can be started from " +
        "the page too, as long as it is served to this machine only.",
    )
    .argument("<run>", "folder of the trained model and its index")
    .option("--port <port>", "port to listen on, 0 for any free one; default: 7860", port)
    .option(
      "--host <address>",
      "address to listen on, 0.0.0.0 for all of this machine; default: 127.0.0.1, this machine only",
    )
    .option(
      "--allow-host <name>",
      "one more name to answer for, such as that of a proxy in front; may be repeated",
      hostNames,
    )
    .addHelpText(
      "after",
      `
Whoever reaches the page may search the pictures: there is no log-in. Addresses in figures are answered where
--host is one of the network; names are only as --host and --allow-host say, for a web site could point a
name of its own at this machine.

Examples:
  clipsmith serve runs/photos --port 8080
  clipsmith serve runs/photos --host 0.0.0.0 --allow-host photos.example.org`,
    );
  return withRuntimeOptions(command).action(serveRun);
}

async function serveRun(run: string, flags: ServeFlags): Promise<void> {
  const runtime = await checkRuntime(flags);
  const [{ PictureIndex }, { serve }] = await Promise.all([
    import("../search/index.js"),
    import("../server/index.js"),
  ]);
  const model = await openModel(run, runtime);
  try {
    const index = await PictureIndex.open(join(run, cliFiles.index));
    const server = await serve({
      embedder: model,
      index,
      run,
      ...(flags.port !== undefined && { port: flags.port }),
      ...(flags.host !== undefined && { host: flags.host }),
      ...(flags.allowHost !== undefined && { allowedHosts: flags.allowHost }),
    });
    const [url, ...more] = server.urls;
    print(`Serving ${counted(index.count, "picture")} at ${url} until Ctrl+C.`);
    if (more.length > 0) print("Others reach it at:", ...more.map((other) => `  ${other}`));
    await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
    await server.close();
    index.close();
  } finally {
    await model.release();
  }
}

/** Values of an option that names hosts, without scheme and port. */
function hostNames(value: string, values?: readonly string[]): readonly string[] {
  const url = URL.canParse(`http://${value}`) ? new URL(`http://${value}`) : undefined;
  if (url === undefined || /[/:@?#*]/.test(value.replace(/^\[.*\]$/, ""))) {
    throw new InvalidArgumentError("Give a host name alone, such as photos.example.org.");
  }
  return repeated(url.hostname, values);
}
