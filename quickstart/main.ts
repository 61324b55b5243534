/**
 * `npm start`: trains a model on emoji of some makers, serves a page to search them while the model gets
 * better, and measures it on another maker's and on words it was not taught. `npm start -- --help` lists
 * the options.
 */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { port } from "../src/cli/arguments.js";
import { cliFiles } from "../src/cli/run-folder.js";
import type { Sample } from "../src/data/index.js";
import { formatRetrieval, type RetrievalResult, retrieval } from "../src/eval/index.js";
import { type Embedder, Model, modelFiles } from "../src/model/index.js";
import { buildIndex, type PictureIndex } from "../src/search/index.js";
import { runFiles } from "../src/train/index.js";
import { ClipsmithError } from "../src/util/errors.js";
import { prepareEmoji, readHeldOutWording, readTraining, readUnseenStyle } from "./emoji.js";
import { followRun } from "./follow.js";
import { LivePage } from "./live-page.js";
import { pixelBaseline } from "./pixels.js";
import { recipe } from "./recipe.js";
import { say } from "./say.js";
import type { TrainingTask } from "./train.js";
import { runTraining } from "./training-process.js";
import { measureUnseenStyle, type UnseenStyle } from "./unseen-style.js";

interface Options {
  readonly once?: true;
  readonly minutes: number;
  readonly retrain?: true;
  readonly port: number;
}

const DEFAULT_MINUTES = 5;

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a positive number.");
  return value;
}

function parseArguments(): Options {
  return new Command("npm start --")
    .description("Train a CLIP on emoji, measure it, and search them on a page.")
    .option("--once", "serve no page, and end after the figures")
    .option("--minutes <n>", "how long to train", positive, DEFAULT_MINUTES)
    .option("--retrain", "train again, even if a trained model is there")
    .option("--port <n>", "where the page listens, 0 for any free port", port, 7860)
    .parse()
    .opts<Options>();
}

const hasModel = (run: string) => existsSync(join(run, modelFiles.weights));

/** Trains while the page follows, or goes on; false if it was stopped. */
async function trainRun(
  run: string,
  emoji: string,
  { minutes, retrain }: Options,
  unseenStyle: UnseenStyle,
  page: LivePage | undefined,
): Promise<boolean> {
  const files = [runFiles.training, modelFiles.config];
  const resume = !retrain && files.every((file) => existsSync(join(run, file)));
  const task: TrainingTask = { run, emoji, minutes, resume };
  return runTraining(new URL("./train.js", import.meta.url), task, async (isOver) => {
    if (page !== undefined) await followRun({ run, minutes, unseenStyle }, page, isOver);
  });
}

/** Keywords that were not trained on, against all pictures of one maker. */
async function measureUnseenWording(model: Embedder, emoji: string): Promise<RetrievalResult> {
  const { pictures, queries } = await readHeldOutWording(emoji);
  return retrieval({
    texts: await model.embedTexts(queries.map(({ text }) => text)),
    pictures: (await model.embedPictures(pictures)).embeddings,
    width: model.width,
    positives: (query) => queries[query]!.positives,
  });
}

async function measure(
  run: string,
  emoji: string,
  drawings: UnseenStyle,
  model: Embedder,
): Promise<void> {
  const { embeddings: _, ...unseenStyle } = await measureUnseenStyle(model, drawings);
  const unseenWording = await measureUnseenWording(model, emoji);
  const pixels = await pixelBaseline(await readTraining(emoji), drawings);
  console.log(
    `A style never seen: ${unseenStyle.pictures} drawings by OpenMoji, by name\n` +
      `${formatRetrieval(unseenStyle, { pixels })}\n\n` +
      `Words never taught: ${unseenWording.texts} keywords, among ${unseenWording.pictures} drawings\n` +
      `${formatRetrieval(unseenWording)}\n`,
  );
  const figures = { unseenStyle, unseenWording, baselines: { pixels } };
  await writeFile(join(run, cliFiles.metrics), `${JSON.stringify(figures, undefined, 2)}\n`);
  console.log(`These figures are in ${join(run, cliFiles.metrics)}.\n`);
}

/** Those of the style never seen come first, as in the indexes before the end: an id means the same picture. */
async function indexAll(
  run: string,
  emoji: string,
  unseenStyle: UnseenStyle,
  model: Embedder,
): Promise<PictureIndex> {
  const samples = [unseenStyle, await readTraining(emoji)].flatMap(({ pictures, names }) =>
    pictures.map((picture, i): Sample => ({ picture, captions: [names[i]!] })),
  );
  return (await buildIndex(join(run, cliFiles.index), model, samples)).index;
}

function commandFor(minutes: number): string {
  return minutes === DEFAULT_MINUTES ? "npm start" : `npm start -- --minutes ${minutes}`;
}

async function main(): Promise<void> {
  const options = parseArguments();
  const { minutes, once, retrain } = options;
  const run = join("runs", minutes === DEFAULT_MINUTES ? "emoji" : `emoji-${minutes}min`);
  const page = once ? undefined : await LivePage.of(run, options.port);
  const { vendors } = recipe(minutes);
  const emoji = join(".cache", `emoji-${vendors.length}`);
  await prepareEmoji(emoji, {
    vendors,
    onProgress: (done, total) => {
      if (done % 1000 === 0 || done === total) console.log(`Drawing emoji: ${done} of ${total}`);
    },
  });
  const unseenStyle = await readUnseenStyle(emoji);
  let note: string | undefined;
  try {
    if (!retrain && hasModel(run)) {
      console.log(`Using the model in ${run}; train again by: npm start -- --retrain\n`);
    } else {
      const isWhole = await trainRun(run, emoji, options, unseenStyle, page).finally(() => {
        if (!hasModel(run)) console.log(`Go on with it by: ${commandFor(minutes)}`);
      });
      if (!isWhole) {
        await page?.close();
        return;
      }
      note = "The training has ended. This is the whole model, with all drawings.";
    }
    const model = await Model.load(run);
    const index = await indexAll(run, emoji, unseenStyle, model);
    const url = await page?.show({ model, index, ...(note && { note }) });
    await measure(run, emoji, unseenStyle, model);
    if (url !== undefined) {
      say(`Search them at ${url} (Ctrl+C ends)`);
      return;
    }
    index.close();
    await model.release();
  } catch (error) {
    await page?.close();
    throw error;
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ClipsmithError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
