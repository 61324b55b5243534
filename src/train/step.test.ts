import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP, type ClipOptions } from "../clip/index.js";
import { evaluate, graph, type Value } from "../graph/index.js";
import { assertClose } from "../graph/testing.js";
import { initialize } from "../nn/index.js";
import { random } from "../util/random.js";
import type { Batch } from "./batch.js";
import { TrainingStep, type TrainingStepOptions } from "./step.js";
import { tinyClip } from "./testing.js";

const BATCH = 3;
const LENGTH = 4;

async function withStep(
  clipOptions: ClipOptions,
  loss: TrainingStepOptions["loss"],
  work: (step: TrainingStep, clip: CLIP) => Promise<void>,
  more: Partial<TrainingStepOptions> = {},
): Promise<void> {
  const clip = new CLIP({ ...tinyClip, numTextTokens: 20, textSeqLen: LENGTH, ...clipOptions });
  const step = await TrainingStep.compile({
    clip,
    batchSize: BATCH,
    textLength: LENGTH,
    weights: initialize(clip.parameters, 1),
    runtime: { threads: 1 },
    ...(loss && { loss }),
    ...more,
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
    ...(drops && {
      patchIndices: Int32Array.from({ length: BATCH * clip.keptPatches }, (_, i) => i % 2),
    }),
  };
}

/** A batch with all that the model may ask for, and one more view of texts and two of pictures. */
function fullBatchOf(clip: CLIP): Batch {
  const stream = random("full batch");
  const text = () => Int32Array.from({ length: BATCH * LENGTH }, () => stream.integer(20));
  const image = () => Float32Array.from({ length: BATCH * 192 }, () => stream.normal());
  const patches = (views: number) =>
    Int32Array.from({ length: views * BATCH * clip.keptPatches }, (_, i) => (i * 3) % 4);
  return {
    ...batchOf(clip),
    augText: [text()],
    augImage: [image(), image()],
    patchIndices: patches(3),
    mlm: { sequence: text(), labels: text().map((id, i) => (i % LENGTH === 1 ? id : 0)) },
    ssl: {
      views: [image(), image()],
      patchIndices: Array.from({ length: clip.sslPasses }, () => patches(1)),
    },
  };
}

const full = {
  useMlm: true,
  useVisualSsl: true,
  visualSslProjectionHiddenSize: 6,
  simRegLossWeight: 0.1,
} satisfies ClipOptions;
const views = { augTexts: 1, augImages: 2 };

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
    // All pictures are the same: nothing is left to tell a pair from.
    const identities = {
      pictures: new Float64Array(BATCH),
      captions: [],
      known: new Float64Array(),
      knownCounts: new Int32Array(BATCH),
    };
    const { loss } = await step.run({ ...batch, identities }, { learningRate: 1e-3 });
    assert.ok(Math.abs(loss) < 1e-6, `loss ${loss}`);
  }));

for (const options of [
  full,
  { ...full, visualSslType: "simclr" },
  { ...full, compat: "x-clip" },
] as ClipOptions[]) {
  test(`every part of a batch reaches its place, and terms and buffers are the graph's: ${
    options.compat ?? options.visualSslType ?? "simsiam"
  }`, () =>
    withStep(
      options,
      undefined,
      async (step, clip) => {
        const batch = fullBatchOf(clip);
        const before = copyOf(new Map([...step.buffers, ...step.optimizer.parameters]));
        const result = await step.run(batch, { learningRate: 1e-3 });
        const value = (
          data: ArrayLike<number>,
          shape: readonly number[],
          dtype: Value["dtype"],
        ) => ({
          data: Float64Array.from(data),
          shape,
          dtype,
        });
        const text = (data: Int32Array) => value(data, [BATCH, LENGTH], "int32");
        const image = (data: Float32Array) => value(data, [BATCH, 3, 8, 8], "float32");
        const patches = (data: Int32Array) => value(data, [data.length / 2, 2], "int32");
        const values = Object.fromEntries([
          ...[...clip.parameters].map(
            ([name, { shape }]) => [name, value(before.get(name)!, shape, "float32")] as const,
          ),
          ["text", text(batch.text)],
          ["image", image(batch.image)],
          ["patchIndices", patches(batch.patchIndices!)],
          ["augText.0", text(batch.augText![0]!)],
          ["augImage.0", image(batch.augImage![0]!)],
          ["augImage.1", image(batch.augImage![1]!)],
          ["mlm.sequence", text(batch.mlm!.sequence)],
          ["mlm.labels", text(batch.mlm!.labels)],
          ["ssl.views.0", image(batch.ssl!.views[0]!)],
          ["ssl.views.1", image(batch.ssl!.views[1]!)],
          ...batch.ssl!.patchIndices!.map(
            (indices, i) => [`ssl.patchIndices.${i}`, patches(indices)] as const,
          ),
        ]);
        const inputs = clip.inputs(BATCH, { training: true, textLength: LENGTH, ...views });
        const { loss, terms, buffers } = clip.losses(inputs);
        assert.deepEqual(Object.keys(result.terms), Object.keys(terms));
        assert.equal(Object.keys(terms).length, 5);
        const expected = evaluate(graph({ total: loss, ...terms }), values);
        assertClose([result.loss], expected.total!.data, 1e-4, "loss");
        for (const [name, term] of Object.entries(result.terms)) {
          assertClose([term], expected[name]!.data, 1e-4, name);
        }
        assert.ok(buffers.size > 0);
        const names = new Map([...buffers.keys()].map((name) => [`new ${name}`, name]));
        const changes = Object.fromEntries(
          [...names].map(([to, name]) => [to, buffers.get(name)!]),
        );
        for (const [to, { data }] of Object.entries(evaluate(graph(changes), values))) {
          assertClose(step.buffers.get(names.get(to)!)!, data, 1e-4, to);
        }
        for (const name of buffers.keys()) assert.ok(!step.optimizer.parameters.has(name));
        assert.deepEqual(
          changed(step.buffers, before).toSorted(),
          [...buffers.keys()].toSorted(),
          "all statistics move",
        );
        // Again: the statistics go on from where they are.
        const count = [...buffers.keys()].find((name) => name.endsWith("num_batches_tracked"))!;
        const first = step.buffers.get(count)![0]!;
        await step.run(batch, { learningRate: 1e-3 });
        assert.equal(step.buffers.get(count)![0], 2 * first);
      },
      views,
    ));
}

test("buffers stay as they are where nothing is learnt", () =>
  withStep(
    full,
    undefined,
    async (step, clip) => {
      const batch = fullBatchOf(clip);
      await step.run(batch, { learningRate: 1e-3 });
      const before = copyOf(step.buffers);
      // A picture is no number, or only a view of it.
      const image = batch.image.map(() => Number.NaN);
      for (const broken of [
        { ...batch, image },
        { ...batch, ssl: { ...batch.ssl, views: [image, batch.image] } },
      ] as Batch[]) {
        const { loss, terms, gradientNorm } = await step.run(broken, { learningRate: 1e-3 });
        assert.ok(Number.isNaN(loss) && Number.isNaN(gradientNorm));
        assert.ok(
          Object.values(terms).some(Number.isNaN) && Object.values(terms).some(Number.isFinite),
        );
        assert.deepEqual(step.buffers, before);
      }
    },
    views,
  ));

test("buffers stay as they are where only gradients are not finite", () =>
  withStep({ ...full, simRegLossWeight: 0 }, undefined, async (step, clip) => {
    const { augText, augImage, ...batch } = fullBatchOf(clip);
    const patchIndices = batch.patchIndices!.subarray(0, BATCH * clip.keptPatches);
    // So large that squares overflow, and the loss, which goes by directions, does not.
    const image = batch.image.map((x) => x * 1e25);
    const before = copyOf(step.buffers);
    const large = { ...batch, patchIndices, image };
    const { loss, gradientNorm } = await step.run(large, { learningRate: 1e-3 });
    assert.ok(Number.isFinite(loss) && Number.isNaN(gradientNorm));
    assert.deepEqual(step.buffers, before);
  }));

test("pictures that are all alike, and texts none of which is asked for, can be learnt from", async () => {
  const alike = async (options: ClipOptions) =>
    withStep(
      { ...full, ...options },
      undefined,
      async (step, clip) => {
        const batch = fullBatchOf(clip);
        const image = new Float32Array(BATCH * 192).fill(0.5);
        const patchIndices = batch.ssl!.patchIndices!.map((p) => p.map((_, i) => i % 2));
        const same = {
          ...batch,
          image,
          mlm: { sequence: batch.text, labels: new Int32Array(batch.text.length) },
          ssl: { views: [image, image], patchIndices },
        };
        for (let i = 0; i < 3; i++) {
          const { loss, terms, gradientNorm } = await step.run(same, { learningRate: 1e-3 });
          assert.ok(
            Number.isFinite(loss) && Number.isFinite(gradientNorm),
            `${loss}, ${gradientNorm}`,
          );
          assert.equal(terms.textSsl, 0);
        }
      },
      views,
    );
  for (const options of [{}, { visualSslType: "simclr" }, { compat: "x-clip" }] as ClipOptions[]) {
    await alike(options);
  }
});
