import { join } from "node:path";
import { Command } from "commander";
import type { RuntimeOptions } from "../runtime/index.js";
import { ClipsmithError } from "../util/errors.js";
import { checkRuntime, count, withRuntimeOptions } from "./arguments.js";
import { print } from "./print.js";
import { cliFiles, openModel } from "./run-folder.js";

interface SearchFlags extends RuntimeOptions {
  readonly picture?: string;
  readonly limit: number;
  readonly json?: boolean;
}

/** `clipsmith search`: finds pictures of the index by words or by a picture. */
export function searchCommand(): Command {
  const command = new Command("search")
    .summary("find pictures by words or by a picture")
    .description(
      "Finds the indexed pictures that words describe best, or that are most like a picture, and " +
        "prints the score (cosine similarity), the path and the captions of each.",
    )
    .argument("<run>", "folder of the trained model and its index")
    .argument("[words...]", "what the pictures should show")
    .option("--picture <file>", "search by this picture in place of words")
    .option("--limit <n>", "the most pictures to print", count, 10)
    .option("--json", "print the pictures as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  clipsmith search runs/photos a dog on the beach\n" +
        "  clipsmith search runs/photos --picture dog.jpg",
    );
  return withRuntimeOptions(command).action(searchRun);
}

async function searchRun(run: string, words: string[], flags: SearchFlags): Promise<void> {
  const { picture, limit, json } = flags;
  const text = words.join(" ").trim();
  if ((text === "") === (picture === undefined)) {
    throw new ClipsmithError("Search by words or by --picture FILE: give one of them.");
  }
  const runtime = await checkRuntime(flags);
  const { PictureIndex, searchPicture, searchText } = await import("../search/index.js");
  const model = await openModel(run, runtime);
  try {
    const index = await PictureIndex.open(join(run, cliFiles.index));
    const matches =
      picture === undefined
        ? await searchText(index, model, text, { limit })
        : await searchPicture(index, model, picture, { limit });
    index.close();
    if (json) {
      const found = matches.map(({ score, picture, captions }) => ({ score, picture, captions }));
      print(JSON.stringify(found, undefined, 2));
    } else {
      print(
        ...matches.map(({ score, picture, captions }) =>
          `${score.toFixed(4)}  ${picture}  ${captions.join(" | ")}`.trimEnd(),
        ),
      );
    }
  } finally {
    await model.release();
  }
}
