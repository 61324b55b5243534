import { join } from "node:path";
import { Command } from "commander";
import type { RuntimeOptions } from "../runtime/index.js";
import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import { checkRuntime, count, withRuntimeOptions } from "./arguments.js";
import { print, warn } from "./print.js";
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
  const { PictureIndex, embedPicture, searchPresent } = await import("../search/index.js");
  const model = await openModel(run, runtime);
  try {
    const index = await PictureIndex.open(join(run, cliFiles.index));
    const vector =
      picture === undefined ? await model.embedTexts([text]) : await embedPicture(model, picture);
    const { matches, gone } = await searchPresent(index, vector, { limit });
    index.close();
    if (gone > 0) warn(goneLine(gone, run));
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

function goneLine(gone: number, run: string): string {
  const pictures = `${counted(gone, "picture")} of the index ${gone === 1 ? "is" : "are"} gone`;
  return `${pictures} and left out here: clipsmith index ${quote(run)} makes it anew.`;
}
