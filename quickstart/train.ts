/** The process that trains the quickstart's model; `main.ts` starts it. */
import { join } from "node:path";
import { writeReport } from "../src/cli/report.js";
import { cliFiles } from "../src/cli/run-folder.js";
import { train } from "../src/train/index.js";
import { readTrainingSamples } from "./emoji.js";
import { recipe } from "./recipe.js";
import { asTraining } from "./training-process.js";

/** What to train. */
export interface TrainingTask {
  /** Folder of the run. */
  readonly run: string;
  /** Folder of the emoji. */
  readonly emoji: string;
  readonly minutes: number;
  /** Go on with the run that is there; otherwise one that is there is replaced. */
  readonly resume: boolean;
}

/** The page shows each checkpoint: the first after a minute, and several of a short training. */
function checkpointSeconds(minutes: number): number {
  return Math.min(60, 12 * minutes);
}

await asTraining<TrainingTask>(async ({ run, emoji, minutes, resume }, signal, begun) => {
  const { vendors: _, ...newRun } = recipe(minutes);
  const samples = await readTrainingSamples(emoji);
  const drawings = new Set(samples.map(({ picture }) => picture)).size;
  console.log(
    `${resume ? "Going on training" : "Training"} on ${drawings} pictures for about ` +
      `${minutes} ${minutes === 1 ? "minute" : "minutes"} ...`,
  );
  const result = await train({
    ...newRun,
    training: { ...newRun.training, checkpointSeconds: checkpointSeconds(minutes) },
    out: run,
    samples,
    resume,
    overwrite: !resume,
    signal,
    onStart: begun,
  });
  if (!result.finished) {
    console.log(`Stopped after step ${result.steps}.`);
    process.exitCode = 1;
    return;
  }
  console.log(
    `${result.steps} steps, loss ${result.loss.toFixed(3)}, ` +
      `${result.samplesPerSecond.toFixed(0)} pairs/s`,
  );
  const report = join(run, cliFiles.report);
  await writeReport(run, report, {}, join(emoji, "unseen-style.jsonl"));
  console.log(`${report} shows how it got on, and what it finds in the style never seen.\n`);
});
