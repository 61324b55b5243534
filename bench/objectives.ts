/**
 * `npm run bench -- objectives`: what each objective learns from the quickstart's pictures in the same
 * number of steps, as recall on a drawing style that none has seen, with several seeds.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareEmoji, readUnseenStyle } from "../quickstart/emoji.js";
import type { ClipOptions } from "../src/clip/index.js";
import { readCollection } from "../src/data/index.js";
import { retrieval } from "../src/eval/index.js";
import { Model } from "../src/model/index.js";
import { type TrainingOptions, train } from "../src/train/index.js";
import { tokenwiseRecall } from "./tokenwise.js";

const EMOJI = ".cache/emoji-3";
const SEEDS = [1, 2, 3];
const STEPS = 300;
const BATCH = 128;

/** Small enough for dozens of trainings, with patches enough to drop some. */
const clip: ClipOptions = {
  dimText: 128,
  dimImage: 128,
  dimLatent: 128,
  textEncDepth: 1,
  textSeqLen: 12,
  textHeads: 4,
  textDimHead: 32,
  visualEncDepth: 2,
  visualHeads: 4,
  visualDimHead: 32,
  visualImageSize: 32,
  visualPatchSize: 8,
  visualPatchDropout: 0,
  visualSslProjectionSize: 128,
  visualSslProjectionHiddenSize: 512,
};

const augment = {
  rotate: 10,
  translate: 0.1,
  scale: [0.8, 1.2] as [number, number],
  colour: { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.03 },
};

interface Variant {
  readonly clip?: ClipOptions;
  readonly training?: TrainingOptions;
}

const variants: Record<string, Variant> = {
  base: {},
  DCL: { clip: { decoupledContrastiveLearning: true } },
  FILIP: { clip: { useAllTokenEmbeds: true } },
  "CLOOB: extra projections, DCL": {
    clip: { extraLatentProjection: true, decoupledContrastiveLearning: true },
  },
  "CLOOB: Hopfield retrieval": { clip: { hopfieldRetrieval: true } },
  SigLIP: { clip: { sigmoidLoss: true } },
  MLM: { clip: { useMlm: true } },
  SimSiam: { clip: { useVisualSsl: true } },
  SimCLR: { clip: { useVisualSsl: true, visualSslType: "simclr" } },
  "multiview 2 x 2": { training: { augTexts: 1, augImages: 1 } },
  "similarity regularisation": { clip: { simRegLossWeight: 1 } },
  "patch dropout 0.5": { clip: { visualPatchDropout: 0.5 } },
  "patch dropout 0.75": { clip: { visualPatchDropout: 0.75 } },
};

/** Mean and standard deviation over seeds. */
interface Spread {
  readonly mean: number;
  readonly deviation: number;
  readonly values: readonly number[];
}

interface Figures {
  readonly textToImageR10: number;
  readonly imageToTextR10: number;
  /** Of the whole training, with reading pictures, over the base objective's. */
  readonly seconds: number;
  /** Where texts and pictures are compared token by token, as the objective does. */
  readonly tokenwiseR10?: number;
}

interface Row {
  readonly textToImageR10: Spread;
  readonly imageToTextR10: Spread;
  readonly tokenwiseR10?: Spread;
  /** Median time of a training over the base objective's. */
  readonly timesBase: number;
}

/** Trains every variant with every seed, in turn, so that no variant has the machine's quiet hour. */
export async function benchObjectives(): Promise<object> {
  await prepareEmoji(EMOJI);
  const found = new Map(Object.keys(variants).map((name) => [name, [] as Figures[]]));
  for (const seed of SEEDS) {
    for (const [name, variant] of Object.entries(variants)) {
      const figures = await measure(variant, seed);
      found.get(name)!.push(figures);
      console.error(`${name}, seed ${seed}: ${JSON.stringify(figures)}`);
    }
  }
  const secondsOf = (runs: readonly Figures[]) =>
    runs.map(({ seconds }) => seconds).sort((a, b) => a - b)[runs.length >> 1]!;
  const base = secondsOf(found.get("base")!);
  const rows: Record<string, Row> = {};
  for (const [name, runs] of found) {
    const tokenwise = runs.flatMap(({ tokenwiseR10 }) => tokenwiseR10 ?? []);
    rows[name] = {
      textToImageR10: spread(runs.map(({ textToImageR10 }) => textToImageR10)),
      imageToTextR10: spread(runs.map(({ imageToTextR10 }) => imageToTextR10)),
      ...(tokenwise.length > 0 && { tokenwiseR10: spread(tokenwise) }),
      timesBase: secondsOf(runs) / base,
    };
    console.log(line(name, rows[name]));
  }
  return { steps: STEPS, batchSize: BATCH, seeds: SEEDS, objectives: rows };
}

async function measure(variant: Variant, seed: number): Promise<Figures> {
  const out = await mkdtemp(join(tmpdir(), "clipsmith-objective-"));
  try {
    const { samples } = await readCollection(join(EMOJI, "train.jsonl"));
    const start = performance.now();
    await train({
      out,
      samples,
      vocabularySize: 4096,
      model: { clip: { ...clip, ...variant.clip }, preprocessing: { fit: "contain" } },
      training: {
        steps: STEPS,
        batchSize: BATCH,
        learningRate: 1e-3,
        warmupSteps: 30,
        blend: 0.5,
        augment,
        seed,
        checkpointSeconds: 1e9,
        ...variant.training,
      },
    });
    const seconds = (performance.now() - start) / 1000;
    const { pictures, names } = await readUnseenStyle(EMOJI);
    const model = await Model.load(out);
    const { textToImage, imageToText } = retrieval({
      texts: await model.embedTexts(names),
      pictures: (await model.embedPictures(pictures)).embeddings,
      width: model.width,
      positives: (name) => [name],
    });
    await model.release();
    return {
      textToImageR10: textToImage.r10,
      imageToTextR10: imageToText.r10,
      seconds,
      ...(variant.clip?.useAllTokenEmbeds && {
        tokenwiseR10: await tokenwiseRecall(out, names, pictures),
      }),
    };
  } finally {
    await rm(out, { recursive: true });
  }
}

function spread(values: readonly number[]): Spread {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / Math.max(1, values.length - 1)), values };
}

function line(name: string, row: Row): string {
  const percent = ({ mean, deviation }: Spread) =>
    `${(100 * mean).toFixed(1)} ± ${(100 * deviation).toFixed(1)} %`;
  const cells = [
    name.padEnd(32),
    percent(row.textToImageR10).padEnd(14),
    percent(row.imageToTextR10).padEnd(14),
    `${row.timesBase.toFixed(2)} times the time`,
    row.tokenwiseR10 ? `(token by token ${percent(row.tokenwiseR10)})` : "",
  ];
  return cells.join("  ").trimEnd();
}
