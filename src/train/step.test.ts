import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP, type ClipOptions } from "../clip/index.js";
import { initialize } from "../nn/index.js";
import { random } from "../util/random.js";
import { type Batch, TrainingStep, type TrainingStepOptions } from "./step.js";
import { tinyClip } from "./testing.js";

const BATCH = 3;
const LENGTH = 4;

async function withStep(
  clipOptions: ClipOptions,
  loss: TrainingStepOptions["loss"],
  work: (step: TrainingStep, clip: CLIP) => Promise<void>,
): Promise<void> {
  const clip = new CLIP({ ...tinyClip, numTextTokens: 20, textSeqLen: LENGTH, ...clipOptions });
  const step = await TrainingStep.compile({
    clip,
    batchSize: BATCH,
    textLength: LENGTH,
    weights: initialize(clip.parameters, 1),
    runtime: { threads: 1 },
    ...(loss && { loss }),
  });
  try {
    await work(step, clip);
  } finally {
    await step.release();
  }
}

function batchOf(clip: CLIP): Batch {
  const stream = random("batch");
  const drops = clip.keptPatches < clip.patches;
  return {
    text: Int32Array.from({ length: BATCH * LENGTH }, () => stream.integer(20)),
    image: Float32Array.from({ length: BATCH * 192 }, () => stream.normal()),
    excluded: new Uint8Array(BATCH * BATCH),
    ...(drops && {
      patchIndices: Int32Array.from({ length: BATCH * clip.keptPatches }, (_, i) => i % 2),
    }),
  };
}

const copyOf = (parameters: ReadonlyMap<string, Float32Array>) =>
  new Map([...parameters].map(([name, values]) => [name, values.slice()]));

const changed = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>) =>
  [...a].filter(([name, x]) => x.some((v, i) => v !== b.get(name)![i])).map(([name]) => name);

test("steps on one batch bring the loss down, and change all that it depends on", () =>
  withStep({}, undefined, async (step, clip) => {
    const before = copyOf(step.optimizer.parameters);
    const batch = batchOf(clip);
    const losses: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { loss, gradientNorm } = await step.run(batch, { learningRate: 3e-3 });
      assert.ok(gradientNorm > 0);
      losses.push(loss);
    }
    assert.ok(losses.at(-1)! < losses[0]! - 0.5, losses.join());
    const names = [...clip.parameters.keys()].filter((name) => !name.endsWith("_extra.weight"));
    assert.deepEqual(changed(step.optimizer.parameters, before), names);
  }));

for (const [side, prefix] of [
  ["Image", "visual_transformer."],
  ["Text", "text_transformer."],
] as const) {
  test(`a frozen ${side.toLowerCase()} encoder stays as it is, decay included`, () =>
    withStep({}, { [`freeze${side}Encoder`]: true }, async (step, clip) => {
      const before = copyOf(step.optimizer.parameters);
      await step.run(batchOf(clip), { learningRate: 1e-3 });
      const names = changed(step.optimizer.parameters, before);
      assert.deepEqual(
        names,
        [...clip.parameters.keys()].filter(
          (name) => !name.startsWith(prefix) && !name.endsWith("_extra.weight"),
        ),
      );
    }));
}

test("buffers are used and not learnt; a model of one patch needs no patch indices", () =>
  withStep({ textRotaryPosEmb: true, visualPatchSize: 8 }, undefined, async (step, clip) => {
    const name = "text_transformer.rotary_pos_emb.inv_freq";
    assert.ok(clip.parameters.has(name));
    assert.ok(!step.optimizer.parameters.has(name));
    const { loss } = await step.run(batchOf(clip), { learningRate: 1e-3 });
    assert.ok(Number.isFinite(loss));
  }));

for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`nothing is learnt from a picture with ${bad}`, () =>
    withStep({}, undefined, async (step, clip) => {
      const good = batchOf(clip);
      await step.run(good, { learningRate: 1e-3 });
      const parameters = copyOf(step.optimizer.parameters);
      const state = structuredClone([...step.optimizer.state()]);
      const broken = { ...good, image: good.image.map((v, i) => (i < 192 ? bad : v)) };
      const { loss, gradientNorm } = await step.run(broken, { learningRate: 1e-3 });
      assert.ok(!Number.isFinite(loss) && Number.isNaN(gradientNorm));
      assert.deepEqual(step.optimizer.parameters, parameters);
      assert.deepEqual([...step.optimizer.state()], state);
      assert.ok(Number.isFinite((await step.run(good, { learningRate: 1e-3 })).loss));
    }));
}

test("an excluded pair is left out of the loss", () =>
  withStep({}, undefined, async (step, clip) => {
    const batch = batchOf(clip);
    // Everything but the matching pairs: nothing is left to tell them from.
    const excluded = Uint8Array.from({ length: 9 }, (_, i) => Number(i % 4 !== 0));
    const { loss } = await step.run({ ...batch, excluded }, { learningRate: 1e-3 });
    assert.ok(Math.abs(loss) < 1e-6, `loss ${loss}`);
  }));
