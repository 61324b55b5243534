/** What the tests of reports share: the folder of a run as a training leaves it. */
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { MetricsRow } from "./data.js";

/** A step's metrics, and every 50 steps those of a validation. */
export function rowsOf(step: number): MetricsRow[] {
  const loss = 3.2 * Math.exp(-step / 90) + 0.35 + 0.12 * Math.sin(step * 1.7);
  const row = {
    step,
    loss,
    contrastive: 0.95 * loss,
    textSsl: 1.5 * loss + 1,
    gradientNorm: 1 + Math.sin(step) ** 2,
    learningRate: 5e-4 * Math.min(1, step / 50),
    logitScale: 14 + step / 100,
    samplesPerSecond: 800 + 50 * Math.sin(step / 3),
    dataWaitSeconds: 0.01,
    rssMB: 900 + step,
  };
  if (step % 50 > 0) return [row];
  const recall = 1 - Math.exp(-step / 200);
  const figures = (part: number) => ({ r1: 0.4 * part, r5: 0.7 * part, r10: 0.9 * part });
  const directions = { textToImage: figures(recall), imageToText: figures(0.9 * recall) };
  const validation = Object.entries(directions).flatMap(([direction, values]) =>
    Object.entries(values).map(([k, value]) => [`validation.${direction}.${k}`, value]),
  );
  return [row, { step, "validation.loss": loss + 0.3, ...Object.fromEntries(validation) }];
}

export function appendRows(run: string, rows: readonly MetricsRow[]): void {
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  appendFileSync(join(run, "metrics.jsonl"), lines);
}

/** Writes the folder of a run that has taken `steps` of its 400 steps. */
export function makeRun(run: string, steps: number): void {
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, "training.json"), JSON.stringify({ steps: 400, betas: [0.9, 0.98] }));
  writeFileSync(join(run, "config.json"), JSON.stringify({ format: 1, clip: { dimText: 16 } }));
  for (let step = 1; step <= steps; step++) appendRows(run, rowsOf(step));
}
