import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { z } from "zod";
import type { ColumnOptions } from "../data/columns.js";
import type { ReportData, RetrievalOptions } from "../report/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { ClipsmithError } from "../util/errors.js";
import { checkRuntime, columnsOf, port, withRuntimeOptions } from "./arguments.js";
import { print, warn } from "./print.js";
import {
  type Collection,
  cliFiles,
  collectionOf,
  openModel,
  readCollections,
} from "./run-folder.js";

interface ReportFlags extends RuntimeOptions {
  readonly out?: string;
  readonly watch?: boolean;
  readonly port?: number;
}

/** `clipsmith report`: a run's curves, figures and findings in one file. */
export function reportCommand(): Command {
  const command = new Command("report")
    .summary("write a report on a training: curves, figures, what the model finds")
    .description(
      "Writes a report on a training as one file of HTML that needs no network: curves of all that was " +
        "recorded, figures, settings, what was skipped and, of a trained model, what it finds among " +
        "some pictures. `clipsmith train` writes one in the end, too.",
    )
    .argument("<run>", "folder of the run, ended or under way")
    .argument(
      "[collection]",
      "pictures with captions to search among; default: those held out of training, or else those trained on",
    )
    .option("--out <file>", "default: report.html in the run's folder")
    .option("--watch", "serve the report instead, following the run, until Ctrl+C")
    .option("--port <port>", "port of --watch, 0 for any free one; default: 7861", port)
    .addHelpText(
      "after",
      `
Examples:
  clipsmith report runs/photos
  clipsmith report runs/photos --watch`,
    );
  return withRuntimeOptions(command).action(report);
}

async function report(
  run: string,
  collection: string | undefined,
  flags: ReportFlags,
): Promise<void> {
  const runtime = await checkRuntime(flags);
  const { runFiles } = await import("../train/index.js");
  if (!existsSync(join(run, runFiles.training))) {
    throw new ClipsmithError(`${run} holds no training: it has no ${runFiles.training}.`);
  }
  if (flags.watch) {
    const { serveReport } = await import("../server/watch.js");
    const server = await serveReport({
      run,
      ...(flags.port !== undefined && { port: flags.port }),
    });
    print(`Following ${run} at ${server.url} until Ctrl+C.`);
    await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
    await server.close();
    return;
  }
  const out = flags.out ?? join(run, cliFiles.report);
  await writeReport(run, out, runtime, collection);
  print(`The report is in ${out}.`);
}

/**
 * Writes the report of a run to the file `out`. What the model finds is left out, with a warning, where
 * its pictures are not at hand.
 *
 * @param collection default: what the run was validated on, or else trained on
 */
export async function writeReport(
  run: string,
  out: string,
  runtime: RuntimeOptions,
  collection?: string,
): Promise<void> {
  const [{ FollowedRun, reportPage }, { replaceFile }] = await Promise.all([
    import("../report/index.js"),
    import("../util/write-file.js"),
  ]);
  const data = await new FollowedRun(run).report();
  const pictures = picturesOf(run, data, collection);
  const retrievals =
    data.finished && pictures !== undefined ? await findings(run, pictures, runtime) : undefined;
  const html = reportPage({ ...data, ...(retrievals && { retrievals }) });
  await replaceFile(out, [Buffer.from(html)]);
}

interface Pictures {
  readonly path: string;
  readonly options: RetrievalOptions;
  readonly columns: ColumnOptions;
}

/** What to search among: what is given, or else what the model has not learnt from, if there is such. */
function picturesOf(run: string, { settings }: ReportData, given?: string): Pictures | undefined {
  const { trained = [], validated } = readCollections(run);
  const path = given ?? validated?.path ?? trained[0]?.path;
  if (path === undefined) return undefined;
  const isIt = (collection: Collection | undefined) => collection?.path === collectionOf(path).path;
  const columns = columnsOf([...trained, validated].find(isIt) ?? {});
  if (!trained.some(isIt)) {
    return { path, columns, options: { use: isIt(validated) ? "heldOut" : "none" } };
  }
  const heldOut = partSchema.safeParse(settings.training).data?.validation.part;
  const options: RetrievalOptions =
    heldOut === undefined ? { use: "learnt" } : { use: "heldOut", heldOut };
  return { path, columns, options };
}

/** Of the options of a run that holds out a part of what it is trained on. */
const partSchema = z.object({ validation: z.object({ part: z.number() }) });

async function findings(
  run: string,
  { path, options, columns }: Pictures,
  runtime: RuntimeOptions,
): Promise<ReportData["retrievals"]> {
  const [{ openSource }, { findRetrievals }] = await Promise.all([
    import("../data/index.js"),
    import("../report/index.js"),
  ]);
  const model = await openModel(run, runtime);
  try {
    const source = await openSource(path, columns);
    const { fit, background } = model.config.preprocessing;
    return await findRetrievals(model, source, { ...options, fit, background });
  } catch (error) {
    if (!(error instanceof ClipsmithError)) throw error;
    warn(`The report does not show what the model finds. ${error.message}`);
    return undefined;
  } finally {
    await model.release();
  }
}
