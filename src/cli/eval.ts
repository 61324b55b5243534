import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import type { ColumnOptions } from "../data/columns.js";
import type { RetrievalResult } from "../eval/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { checkRuntime, columnsOf, withColumnOptions, withRuntimeOptions } from "./arguments.js";
import { print, skippedLines, warn } from "./print.js";
import { cliFiles, collectionName, openModel, writeJson } from "./run-folder.js";

interface EvalFlags extends RuntimeOptions, ColumnOptions {
  readonly name?: string;
  readonly json?: boolean;
}

/** `clipsmith eval`: retrieval recall of a trained model, also kept in the run's metrics.json. */
export function evalCommand(): Command {
  const command = new Command("eval")
    .summary("measure how well a model finds pictures by text and texts by picture")
    .description(
      "Measures how well a model finds the pictures of a collection by their captions, and captions " +
        "by their pictures: recall at 1, 5 and 10. The figures are also kept in RUN/metrics.json.",
    )
    .argument("<run>", "folder of the trained model")
    .argument(
      "<collection>",
      "folder of pictures with captions, or a .csv, .tsv, .json or .jsonl list",
    )
    .option("--name <name>", "what to call the figures; default: the collection's name")
    .option("--json", "print the figures as JSON")
    .addHelpText("after", "\nExample:\n  clipsmith eval runs/photos holiday-photos");
  return withRuntimeOptions(withColumnOptions(command)).action(evaluateRun);
}

async function evaluateRun(run: string, collection: string, flags: EvalFlags): Promise<void> {
  const runtime = await checkRuntime(flags);
  const [{ readCollection }, { evaluate, formatRetrieval }] = await Promise.all([
    import("../data/index.js"),
    import("../eval/index.js"),
  ]);
  const model = await openModel(run, runtime);
  try {
    const { samples, skipped, notes } = await readCollection(collection, columnsOf(flags));
    warn(...notes);
    const { skipped: unreadable, ...figures } = await evaluate(model, samples);
    warn(...skippedLines([...skipped, ...unreadable]));
    const name = flags.name ?? collectionName(collection);
    keepFigures(run, name, figures);
    print(flags.json ? JSON.stringify(figures, undefined, 2) : formatRetrieval(figures));
  } finally {
    await model.release();
  }
}

/** Puts figures into the run's metrics.json under a name; those of other names stay. */
function keepFigures(run: string, name: string, figures: RetrievalResult): void {
  const path = join(run, cliFiles.metrics);
  let known: object = {};
  try {
    known = JSON.parse(readFileSync(path, "utf8")) as object;
  } catch {
    // There is none yet, or nothing to keep of it.
  }
  writeJson(path, { ...known, [name]: figures });
}
