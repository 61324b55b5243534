/**
 * `npm run bench -- binding [--steps N]`: whether a model learns what belongs to what. It trains on some
 * combinations of colour, shape and place and is asked about others: to find them, and to tell the right
 * caption from one with the same words in other places, as ARO and SugarCrepe do (Yuksekgonul et al.,
 * 2022; Hsieh et al., 2023).
 */
import { availableParallelism } from "node:os";
import { Command } from "commander";
import { count, number } from "../../src/cli/arguments.js";
import { learn, recipe } from "./learn.js";
import { type BindingFigures, mean, measureBinding, testSet } from "./measure.js";
import type { Novelty } from "./split.js";

/** Scenes of each novelty. */
const SCENES = 400;

const TITLES: Readonly<Record<Novelty, string>> = {
  seen: "trained so, new pictures",
  place: "colour and shape never in this place",
  pair: "colour and shape never together",
};

export async function benchBinding(parameters: readonly string[]): Promise<object> {
  const { steps, seed } = new Command("npm run bench -- binding")
    .option(
      "--steps <n>",
      "how long to train; default: about ten minutes on two cores",
      count,
      1500,
    )
    .option("--seed <n>", "equal seeds give equal models", number, 0)
    .parse(parameters, { from: "user" })
    .opts<{ steps: number; seed: number }>();
  const start = performance.now();
  const model = await learn(steps, seed);
  const minutes = (performance.now() - start) / 60_000;
  const { visualImageSize } = model.config.clip;
  const kinds = Object.keys(TITLES) as Novelty[];
  const sets = await Promise.all(kinds.map((kind) => testSet(kind, SCENES, visualImageSize)));
  const figures = await measureBinding(model, sets);
  await model.release();

  const titles = ["text to image", "image to text", "colours", "sizes", "relation"];
  console.log(`${"".padEnd(38)}${titles.map((title) => title.padStart(14)).join("")}`);
  for (const [kind, found] of figures) console.log(line(TITLES[kind], found));
  const unseen = [figures.get("place")!, figures.get("pair")!];
  return {
    steps,
    batchSize: recipe.batchSize,
    seed,
    threads: availableParallelism(),
    minutes,
    candidates: SCENES * sets.length,
    /** Of all three swaps and both kinds of unseen combinations. */
    compositionalAccuracy: mean(unseen.flatMap(({ swaps }) => Object.values(swaps))),
    /** At 1, of both kinds of unseen combinations. */
    recall: {
      textToImage: mean(unseen.map(({ textToImage }) => textToImage)),
      imageToText: mean(unseen.map(({ imageToText }) => imageToText)),
    },
    kinds: Object.fromEntries(figures),
  };
}

function line(title: string, { textToImage, imageToText, swaps }: BindingFigures): string {
  const cells = [textToImage, imageToText, swaps.colour, swaps.size, swaps.relation];
  return title.padEnd(38) + cells.map((x) => `${(100 * x).toFixed(1)} %`.padStart(14)).join("");
}
