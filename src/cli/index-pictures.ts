import { join } from "node:path";
import { Command } from "commander";
import type { ColumnOptions } from "../data/columns.js";
import type { Model } from "../model/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import type { IndexBatch } from "../search/index.js";
import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import { checkRuntime, columnsOf, withColumnOptions, withRuntimeOptions } from "./arguments.js";
import { EmbeddingProgress } from "./embedding-progress.js";
import { print, skippedLines, warn } from "./print.js";
import {
  type Collection,
  cliFiles,
  collectionOf,
  openModel,
  readCollections,
  rememberCollections,
} from "./run-folder.js";

/** `clipsmith index`: makes pictures searchable. */
export function indexCommand(): Command {
  const command = new Command("index")
    .summary("make pictures searchable")
    .description(
      "Embeds the pictures of collections and writes an index of them to RUN/index, in place of the " +
        "one that is there. Pictures need no captions to be found. What `clipsmith embed` has embedded is " +
        "taken as it is.",
    )
    .argument("<run>", "folder of the trained model")
    .argument(
      "[collections...]",
      "folder of pictures, or anything else that can be trained on; or folder of embeddings; or several; " +
        "default: what was indexed last, or else what the model was trained on",
    )
    .addHelpText(
      "after",
      `
Examples:
  clipsmith index runs/photos photos
  clipsmith index runs/photos embeddings`,
    );
  return withRuntimeOptions(withColumnOptions(command)).action(indexRun);
}

async function indexRun(
  run: string,
  named: readonly string[],
  flags: RuntimeOptions & ColumnOptions,
): Promise<void> {
  const runtime = await checkRuntime(flags);
  const known = readCollections(run);
  const remembered = known.indexed ?? known.trained ?? [];
  const collections: readonly Collection[] =
    named.length > 0 ? named.map((path) => ({ path })) : remembered;
  const model = await openModel(run, runtime);
  try {
    if (collections.length === 0) {
      throw new ClipsmithError(
        `${run} remembers no collection. Name one: clipsmith index ${quote(run)} COLLECTION`,
      );
    }
    const { writeIndex } = await import("../search/index.js");
    const contents: Content[] = [];
    for (const collection of collections) {
      const columns = columnsOf({ ...collection, ...columnsOf(flags) });
      contents.push(await openContent(collection.path, model, columns));
    }
    const totals = contents.map(({ pictures }) => pictures);
    const total = totals.reduce(
      (sum, n) => (sum === undefined || n === undefined ? undefined : sum + n),
      0,
    );
    const progress = new EmbeddingProgress({ total });
    const built = await writeIndex(join(run, cliFiles.index), model.width, all(contents), (done) =>
      progress.update(done),
    ).finally(() => progress.stop());
    built.index.close();
    rememberCollections(run, { indexed: contents.map(({ collection }) => collection) });
    warn(...skippedLines(built.skipped));
    print(
      `Indexed ${counted(built.indexed, "picture")}. Search them by:`,
      `  clipsmith search ${quote(run)} WORDS`,
      `  clipsmith serve ${quote(run)}`,
    );
  } finally {
    await model.release();
  }
}

/** What is to be indexed of one collection. */
interface Content {
  readonly collection: Collection;
  /** How many there are; undefined if that is not known before they are read. */
  readonly pictures: number | undefined;
  read(): AsyncIterable<IndexBatch>;
}

async function openContent(spec: string, model: Model, columns: ColumnOptions): Promise<Content> {
  const [{ inMemory, openSource }, embed] = await Promise.all([
    import("../data/index.js"),
    import("../embed/index.js"),
  ]);
  if (embed.holdsEmbeddings(spec)) {
    const embeddings = await embed.openEmbeddings(spec, model);
    return { ...embeddings, collection: collectionOf(spec) };
  }
  const source = await openSource(spec, { captions: "optional", ...columns });
  const samples = inMemory(source)?.samples;
  print(...(source.notes ?? []));
  return {
    collection: collectionOf(spec, samples, columns),
    pictures: samples?.length,
    read: () => embed.embedSources(model, [source], embed.embedOptionsSchema.parse({})),
  };
}

async function* all(contents: readonly Content[]): AsyncGenerator<IndexBatch> {
  for (const content of contents) yield* content.read();
}
