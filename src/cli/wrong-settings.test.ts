import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startRun } from "../train/start-run.js";
import { newRunSettings, type SettingsFlags } from "./train-settings.js";

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-wrong-"));
});
after(() => rmSync(folder, { recursive: true }));

const found = { captions: ["red", "blue"], samples: 2 };

/** Files by name, flags, and the message that they give. */
type Case = readonly [given: SettingsFlags | string, message: string];

/** A text is a run.yaml. */
const cases: readonly Case[] = [
  ["traning: {}", 'run.yaml:1:1: there is no option "traning"; did you mean "training"?'],
  [
    "training:\n  learning_rate: 1e-3",
    'run.yaml:2:3: training: there is no option "learning_rate"; did you mean "learningRate"?',
  ],
  [
    "model:\n  clip:\n    textHeds: 2",
    'run.yaml:3:5: model.clip: there is no option "textHeds"; did you mean "textHeads"?',
  ],
  [
    "model:\n  clip:\n    visualSslTyp: simclr",
    'run.yaml:3:5: model.clip: there is no option "visualSslTyp"; did you mean "visualSslType"?',
  ],
  ["dimText: 64", 'run.yaml:1:1: there is no option "dimText"; did you mean "model.clip.dimText"?'],
  ["data: [1]", "run.yaml:1:1: data: expected a text or list of texts, got [1]"],
  [
    "preset: huge",
    'run.yaml:1:1: preset: expected "laptop", "small", "base" or "vit-b-32", got "huge"',
  ],
  [
    "training: 500",
    "run.yaml:1:1: training: expected options by name, such as minutes, steps, epochs, got 500",
  ],
  [
    "training:\n  batchSize: 1",
    "run.yaml:2:3: training.batchSize: expected an integer from 2, got 1",
  ],
  [
    'training:\n  batchSize: "64"',
    'run.yaml:2:3: training.batchSize: expected an integer from 2, got "64"',
  ],
  [
    "training:\n  minutes: 0\n  seed: 1.5",
    "run.yaml:2:3: training.minutes: expected a number above 0, got 0\nrun.yaml:3:3: training.seed: expected an integer, got 1.5",
  ],
  [
    "training:\n  minutes: 10 min",
    'run.yaml:2:3: training.minutes: expected a number above 0, got "10 min"',
  ],
  [
    "training:\n  betas: [0.9, 1]",
    "run.yaml:2:3: training.betas: expected two numbers from 0, below 1, got [0.9,1]",
  ],
  [
    "training:\n  maxLogitScale: off",
    'run.yaml:2:3: training.maxLogitScale: expected a number from 1, or null, got "off"',
  ],
  [
    "training:\n  augment:\n    crop: [0.9, 0.1]",
    "run.yaml:3:5: training.augment.crop: the first must not exceed the second, got [0.9,0.1]",
  ],
  [
    "training:\n  augment:\n    blur: {}",
    "run.yaml:3:5: training.augment.blur.sigma: missing; expected two numbers above 0",
  ],
  [
    "training:\n  augment:\n    flip: 50",
    "run.yaml:3:5: training.augment.flip: expected a number 0 to 1, got 50",
  ],
  [
    "model:\n  clip:\n    useMlm: 1",
    "run.yaml:3:5: model.clip.useMlm: expected true or false, got 1",
  ],
  [
    "model:\n  clip:\n    visualSslType: moco",
    'run.yaml:3:5: model.clip.visualSslType: expected "simsiam" or "simclr", got "moco"',
  ],
  [
    "model:\n  clip:\n    visualPatchDropout: 1",
    "run.yaml:3:5: model.clip.visualPatchDropout: expected a number from 0, below 1, got 1",
  ],
  [
    "model:\n  preprocessing:\n    fit: stretch",
    'run.yaml:3:5: model.preprocessing.fit: expected "cover" or "contain", got "stretch"',
  ],
  [
    "model:\n  preprocessing:\n    background: [0, 0, 256]",
    "run.yaml:3:5: model.preprocessing.background: expected three integers 0 to 255, got [0,0,256]",
  ],
  [
    "model:\n  preprocessing:\n    mean: [0.5]",
    "model options: preprocessing: mean and std need one number for each channel",
  ],
  [
    "model:\n  clip:\n    channels: 4",
    "model options: clip.channels: pictures have 3 channels, or 1 if they are grey, got 4; preprocessing: mean and std need one number for each channel",
  ],
  ["vocabularySize: 100", "run.yaml:1:1: vocabularySize: expected an integer from 258, got 100"],
  [
    "training:\n  minutes: 5\n  steps: 100",
    "training: minutes (5) and steps (100) both say how long to train: leave one out",
  ],
  [
    "training:\n  steps: 40\n  warmupSteps: 50",
    "training: warmupSteps (50) must be less than steps (40), or the learning rate never reaches its height",
  ],
  [
    "training:\n  initialLogitScale: 20\n  maxLogitScale: 10",
    "training: initialLogitScale (20) must not exceed maxLogitScale (10)",
  ],
  [
    "model:\n  clip:\n    visualImageSize: 100\n    visualPatchSize: 16",
    "CLIP: visualImageSize (100) must be a multiple of visualPatchSize (16)",
  ],
  [
    "model:\n  clip:\n    downsampleImageEmbeds: true",
    "CLIP: downsampleImageEmbeds needs useAllTokenEmbeds: there is no grid of one token",
  ],
  [
    "model:\n  clip:\n    numTextTokens: 500",
    "clip.numTextTokens cannot be chosen: it is the size of the tokenizer. Bound that of one trained on the captions by --vocabulary-size.",
  ],
  [
    "model:\n  clip:\n    textPadId: 7",
    "clip.textPadId is 7, but the tokenizer fills up texts with 0. Leave it out.",
  ],
  [
    "tokenizer: openai\nvocabularySize: 500",
    "A tokenizer that is given has its own vocabulary: leave out --vocabulary-size or --tokenizer.",
  ],
  [
    "training:\n  steps: [1\n",
    "run.yaml:3:1: Flow sequence in block collection must be sufficiently indented and end with a ]",
  ],
  [
    "training:\n steps: 3\n  seed: 4",
    "run.yaml:2:9: Nested mappings are not allowed in compact mappings",
  ],
  ["a: 1\na: 2", "run.yaml:2:1: Map keys must be unique"],
  [{ batchSize: 1 }, "--batch-size: training.batchSize: expected an integer from 2, got 1"],
  [{ steps: 2.5 }, "--steps: training.steps: expected an integer from 1, got 2.5"],
  [{ learningRate: 0 }, "--learning-rate: training.learningRate: expected a number above 0, got 0"],
  [{ warmupSteps: -1 }, "--warmup-steps: training.warmupSteps: expected an integer from 0, got -1"],
  [{ imageSize: 100 }, "CLIP: visualImageSize (100) must be a multiple of visualPatchSize (8)"],
  [
    { set: ["clip.textEncDept=3"] },
    '--set clip.textEncDept=3: model.clip: there is no option "textEncDept"; did you mean "textEncDepth"?',
  ],
  [{ set: ["seed"] }, "--set seed: expected a path and a value, such as clip.textEncDepth=3"],
  [
    { set: ["training.blend=1.5"] },
    "--set training.blend=1.5: training.blend: expected a number 0 to 1, got 1.5",
  ],
  [
    { set: ["training.augment.colour.hue=0.7"] },
    "--set training.augment.colour.hue=0.7: training.augment.colour.hue: expected a number 0 to 0.5, got 0.7",
  ],
  [
    { set: ["clip.useMlm=yes"] },
    '--set clip.useMlm=yes: model.clip.useMlm: expected true or false, got "yes"',
  ],
  [
    { set: ["training.betas=[0.9]"] },
    "--set training.betas=[0.9]: training.betas: expected two numbers from 0, below 1, got [0.9]",
  ],
  [
    { set: ["training.steps="] },
    '--set training.steps=: training.steps: expected an integer from 1, got ""',
  ],
  [
    {
      set: [
        "clip.useMlm=true",
        "clip.useVisualSsl=true",
        "clip.textSslLossWeight=0.6",
        "clip.imageSslLossWeight=0.5",
      ],
    },
    "CLIP: textSslLossWeight (0.6), imageSslLossWeight (0.5) and multiviewLossWeight (0.1) must not exceed 1 together: what is given to them is taken from the contrastive loss",
  ],
  [
    { set: ["training=3"] },
    "--set training=3: training: expected options by name, such as minutes, steps, epochs, got 3",
  ],
  [
    "training: { steps: 10, epochs: 2 }",
    "training: steps (10) and epochs (2) both say how long to train: leave one out",
  ],
  [
    { steps: 10, set: ["training.warmupSteps=10"] },
    "training: warmupSteps (10) must be less than steps (10), or the learning rate never reaches its height",
  ],
  [
    "training:\n  validation:\n    part: 5",
    "run.yaml:3:5: training.validation.part: expected a number above 0, up to 0.5, got 5",
  ],
  [
    "training:\n  earlyStop:\n    metric: accuracy",
    'run.yaml:3:5: training.earlyStop.metric: expected "loss", "textToImage.r1", "textToImage.r5", ' +
      '"textToImage.r10", "imageToText.r1", "imageToText.r5" or "imageToText.r10", got "accuracy"',
  ],
  [
    { set: ["training.earlyStop.patience=0"] },
    "--set training.earlyStop.patience=0: training.earlyStop.patience: expected an integer from 1, got 0",
  ],
];

/** The message of a run that must not start. */
async function refusal(given: SettingsFlags | string): Promise<string> {
  const out = join(folder, "never");
  const file = join(folder, "run.yaml");
  if (typeof given === "string") writeFileSync(file, given);
  try {
    const flags = typeof given === "string" ? { config: file } : given;
    const { data, out: _, ...settings } = await newRunSettings(flags);
    await startRun(out, async () => found, settings);
  } catch (error) {
    assert.equal((error as Error).name, "ClipsmithError");
    assert.ok(!existsSync(join(out, "training.json")), "nothing is written");
    return (error as Error).message.replaceAll(`${folder}/`, "");
  }
  return "no error";
}

for (const [given, message] of cases) {
  const name = typeof given === "string" ? given : JSON.stringify(given);
  test(`wrong: ${name.replaceAll("\n", " ")}`, async () => {
    assert.equal(await refusal(given), message);
  });
}
