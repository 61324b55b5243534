import { once } from "node:events";
import { join } from "node:path";
import { Command } from "commander";
import type { RuntimeOptions } from "../runtime/index.js";
import { counted } from "../util/counted.js";
import { checkRuntime, port, withRuntimeOptions } from "./arguments.js";
import { print } from "./print.js";
import { cliFiles, openModel } from "./run-folder.js";

interface ServeFlags extends RuntimeOptions {
  readonly port?: number;
  readonly host?: string;
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
    .option("--host <address>", "address to listen on; default: 127.0.0.1, this machine only")
    .addHelpText("after", "\nExample:\n  clipsmith serve runs/photos --port 8080");
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
    });
    print(`Serving ${counted(index.count, "picture")} at ${server.url} until Ctrl+C.`);
    await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
    await server.close();
    index.close();
  } finally {
    await model.release();
  }
}
