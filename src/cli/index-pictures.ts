import { join } from "node:path";
import { Command } from "commander";
import type { RuntimeOptions } from "../runtime/index.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import { checkRuntime, withRuntimeOptions } from "./arguments.js";
import { counted, print, skippedLines, warn } from "./print.js";
import {
  cliFiles,
  collectionOf,
  openModel,
  readCollections,
  rememberCollections,
} from "./run-folder.js";

/** Milliseconds between lines of progress. */
const LINE_INTERVAL_MS = 5000;

/** `clipsmith index`: makes pictures searchable. */
export function indexCommand(): Command {
  const command = new Command("index")
    .summary("make pictures searchable")
    .description(
      "Embeds the pictures of a collection and writes an index of them to RUN/index, in place of the " +
        "one that is there. Pictures need no captions to be found.",
    )
    .argument("<run>", "folder of the trained model")
    .argument(
      "[collection]",
      "folder of pictures, or a .csv, .tsv or .jsonl list; default: what was indexed last, or " +
        "else what the model was trained on",
    )
    .addHelpText("after", "\nExample:\n  clipsmith index runs/photos photos");
  return withRuntimeOptions(command).action(indexRun);
}

async function indexRun(
  run: string,
  collection: string | undefined,
  flags: RuntimeOptions,
): Promise<void> {
  const runtime = await checkRuntime(flags);
  const known = readCollections(run);
  const source = collection ?? known.indexed?.path ?? known.trained?.[0]?.path;
  const [{ readCollection }, { buildIndex }] = await Promise.all([
    import("../data/index.js"),
    import("../search/index.js"),
  ]);
  const model = await openModel(run, runtime);
  try {
    if (source === undefined) {
      throw new ClipsmithError(
        `${run} remembers no collection. Name one: clipsmith index ${quote(run)} COLLECTION`,
      );
    }
    const { samples, skipped } = await readCollection(source, { captions: "optional" });
    let shown = performance.now();
    const built = await buildIndex(join(run, cliFiles.index), model, samples, {
      onProgress: (done, total) => {
        if (performance.now() - shown < LINE_INTERVAL_MS) return;
        shown = performance.now();
        warn(`${done} of ${counted(total, "picture")}`);
      },
    });
    built.index.close();
    rememberCollections(run, { indexed: collectionOf(source, samples) });
    warn(...skippedLines([...skipped, ...built.skipped]));
    print(
      `Indexed ${counted(built.indexed, "picture")}. Search them by:`,
      `  clipsmith search ${quote(run)} WORDS`,
      `  clipsmith serve ${quote(run)}`,
    );
  } finally {
    await model.release();
  }
}
