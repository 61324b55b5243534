/**
 * `npm start`: trains a model on emoji of some makers, measures it on another's and on words it was
 * not taught, and serves a page to search them. `npm start -- --help` lists the options.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { writeReport } from "../src/cli/report.js";
import { cliFiles } from "../src/cli/run-folder.js";
import type { Sample } from "../src/data/index.js";
import { formatRetrieval, type RetrievalResult, retrieval } from "../src/eval/index.js";
import { type Embedder, Model, modelFiles } from "../src/model/index.js";
import { buildIndex } from "../src/search/index.js";
import { serve } from "../src/server/index.js";
import { runFiles, train } from "../src/train/index.js";
import { ClipsmithError } from "../src/util/errors.js";
import {
  prepareEmoji,
  readHeldOutWording,
  readTraining,
  readTrainingSamples,
  readUnseenStyle,
} from "./emoji.js";
import { pixelBaseline } from "./pixels.js";
import { type Recipe, recipe } from "./recipe.js";

interface Options {
  readonly once?: true;
  readonly minutes: number;
  readonly retrain?: true;
  readonly port: number;
}

const METRICS = "metrics.json";

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a positive number.");
  return value;
}

function parseArguments(): Options {
  return new Command("npm start --")
    .description("Train a CLIP on emoji, measure it, and search them on a page.")
    .option("--once", "end after the figures instead of serving the page")
    .option("--minutes <n>", "how long to train", positive, 5)
    .option("--retrain", "train again, even if a trained model is there")
    .option("--port <n>", "where the page listens", positive, 7860)
    .parse()
    .opts<Options>();
}

async function exists(path: string): Promise<boolean> {
  return readFile(path).then(
    () => true,
    () => false,
  );
}

/** Trains into `run`, unless that was done before; a run that was killed goes on. */
async function trainOnce(
  run: string,
  emoji: string,
  { vendors: _, ...newRun }: Recipe,
  { minutes, retrain }: Options,
): Promise<void> {
  if (!retrain && (await exists(join(run, modelFiles.weights)))) {
    console.log(`Using the model in ${run}; train again by: npm start -- --retrain\n`);
    return;
  }
  const samples = await readTrainingSamples(emoji);
  const drawings = new Set(samples.map(({ picture }) => picture)).size;
  const resume = !retrain && (await exists(join(run, runFiles.training)));
  console.log(
    `${resume ? "Going on training" : "Training"} on ${drawings} pictures for about ` +
      `${minutes} ${minutes === 1 ? "minute" : "minutes"} ...`,
  );
  const result = await train({
    ...newRun,
    out: run,
    samples,
    resume,
    overwrite: retrain === true,
  });
  console.log(
    `${result.steps} steps, loss ${result.loss.toFixed(3)}, ` +
      `${result.samplesPerSecond.toFixed(0)} pairs/s`,
  );
  const report = join(run, cliFiles.report);
  await writeReport(run, report, {}, join(emoji, "unseen-style.jsonl"));
  console.log(`${report} shows how it got on, and what it finds in the style never seen.\n`);
}

/** Names against drawings in a style that was not trained on, one to one. */
async function measureUnseenStyle(model: Embedder, emoji: string): Promise<RetrievalResult> {
  const { pictures, names } = await readUnseenStyle(emoji);
  return retrieval({
    texts: await model.embedTexts(names),
    pictures: (await model.embedPictures(pictures)).embeddings,
    width: model.width,
    positives: (name) => [name],
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

async function measure(run: string, emoji: string, model: Embedder): Promise<void> {
  const unseenStyle = await measureUnseenStyle(model, emoji);
  const unseenWording = await measureUnseenWording(model, emoji);
  const pixels = await pixelBaseline(await readTraining(emoji), await readUnseenStyle(emoji));
  console.log(
    `A style never seen: ${unseenStyle.pictures} drawings by OpenMoji, by name\n` +
      `${formatRetrieval(unseenStyle, { pixels })}\n\n` +
      `Words never taught: ${unseenWording.texts} keywords, among ${unseenWording.pictures} drawings\n` +
      `${formatRetrieval(unseenWording)}\n`,
  );
  const figures = { unseenStyle, unseenWording, baselines: { pixels } };
  await writeFile(join(run, METRICS), `${JSON.stringify(figures, undefined, 2)}\n`);
  console.log(`These figures are in ${join(run, METRICS)}.\n`);
}

async function indexAll(run: string, emoji: string, model: Embedder) {
  const training = await readTraining(emoji);
  const unseen = await readUnseenStyle(emoji);
  const samples = [training, unseen].flatMap(({ pictures, names }) =>
    pictures.map((picture, i): Sample => ({ picture, captions: [names[i]!] })),
  );
  const { index } = await buildIndex(join(run, "index"), model, samples);
  return index;
}

async function main(): Promise<void> {
  const options = parseArguments();
  const run = join("runs", options.minutes === 5 ? "emoji" : `emoji-${options.minutes}min`);
  const chosen = recipe(options.minutes);
  const emoji = join(".cache", `emoji-${chosen.vendors.length}`);
  await prepareEmoji(emoji, {
    vendors: chosen.vendors,
    onProgress: (done, total) => {
      if (done % 1000 === 0 || done === total) console.log(`Drawing emoji: ${done} of ${total}`);
    },
  });
  await trainOnce(run, emoji, chosen, options);
  const model = await Model.load(run);
  await measure(run, emoji, model);
  const index = await indexAll(run, emoji, model);
  if (options.once) {
    await index.close();
    await model.release();
    return;
  }
  const { url } = await serve({
    embedder: model,
    index,
    title: "Emoji",
    run,
    port: options.port,
  });
  console.log(`Search them at ${url} (Ctrl+C ends)`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ClipsmithError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
