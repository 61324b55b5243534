/** The loss and the gradients of a batch in chunks are those of the batch at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP, type ClipOptions } from "../clip/index.js";
import { assertClose } from "../graph/testing.js";
import { initialize } from "../nn/index.js";
import { random } from "../util/random.js";
import { type Batch, inChunks, type Range, rowsOf } from "./batch.js";
import { identitiesOf } from "./identities.js";
import { TrainingStep, type TrainingStepOptions } from "./step.js";
import { tinyClip } from "./testing.js";

const BATCH = 5;
const LENGTH = 4;
const augTexts = 1;
const augImages = 2;

/** A batch with all that a model may ask for; samples 1 and 3 share a caption, 0 and 4 the picture. */
function batchOf(clip: CLIP, views: boolean): Batch {
  const stream = random("chunks");
  const text = () =>
    Int32Array.from({ length: BATCH * LENGTH }, (_, i) =>
      i % LENGTH === LENGTH - 1 ? 19 : stream.integer(19),
    );
  const image = () => Float32Array.from({ length: BATCH * 192 }, () => stream.normal());
  const patches = (count: number) =>
    Int32Array.from({ length: count * BATCH * clip.keptPatches }, (_, i) =>
      clip.keptPatches < clip.patches ? (i * 3) % 4 : i,
    );
  const drops = clip.keptPatches < clip.patches;
  const captions = ["a", "b", "c", "b", "e"];
  return {
    text: text(),
    image: image(),
    ...(drops && { patchIndices: patches(views ? 1 + augImages : 1) }),
    ...(views && { augText: [text()], augImage: [image(), image()] }),
    // Words are asked for in some texts only: chunks have different numbers of them.
    mlm: { sequence: text(), labels: text().map((id, i) => (i % 7 === 1 ? id : 0)) },
    ssl: {
      views: [image(), image()],
      ...(drops && { patchIndices: Array.from({ length: clip.sslPasses }, () => patches(1)) }),
    },
    identities: identitiesOf(
      captions.map((caption) => ({
        captions: [caption, "also"].slice(0, caption === "b" ? 2 : 1),
      })),
      [captions],
      Float64Array.of(7, 1, 2, 3, 7),
    ),
  };
}

/** Texts and pictures of a range alone. */
async function partOf(batch: Batch, range: Range): Promise<Batch> {
  const rows = (data: Int32Array) => rowsOf(data, BATCH, range) as Int32Array;
  const { ssl, image } = await inChunks(batch, BATCH).pictures(range);
  const patchIndices = batch.ssl!.patchIndices!.map(rows);
  return {
    text: rows(batch.text),
    patchIndices: rows(batch.patchIndices!),
    image,
    ssl: { ...ssl!, patchIndices },
  };
}

interface Found {
  readonly loss: number;
  readonly terms: Readonly<Record<string, number>>;
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly buffers: ReadonlyMap<string, Float32Array>;
}

async function found(
  options: ClipOptions,
  { range = [0, BATCH], ...more }: Partial<TrainingStepOptions> & { readonly range?: Range },
  views: boolean,
): Promise<Found> {
  const clip = new CLIP({ ...tinyClip, numTextTokens: 20, textSeqLen: LENGTH, ...options });
  const step = await TrainingStep.compile({
    clip,
    batchSize: range[1] - range[0],
    textLength: LENGTH,
    ...(views && { augTexts, augImages }),
    weights: initialize(clip.parameters, 1),
    runtime: { threads: 1 },
    ...more,
  });
  try {
    const batch = batchOf(clip, views);
    const part = range[1] - range[0] < BATCH ? await partOf(batch, range) : batch;
    const { loss, terms } = await step.run(part, { learningRate: 0 });
    return { loss, terms, gradients: step.optimizer.gradients, buffers: step.buffers };
  } finally {
    await step.release();
  }
}

function assertSame(chunked: Found, whole: Found, tolerance: number, what: string): void {
  assert.deepEqual(Object.keys(chunked.terms), Object.keys(whole.terms), what);
  const close = (a: number, b: number, size: number, name: string) =>
    assert.ok(Math.abs(a - b) <= tolerance * size, `${what}, ${name}: ${a} is not ${b}`);
  close(chunked.loss, whole.loss, Math.abs(whole.loss), "loss");
  for (const [name, term] of Object.entries(whole.terms)) {
    close(chunked.terms[name]!, term, Math.max(1e-3, Math.abs(term)), name);
  }
  assert.deepEqual([...chunked.gradients.keys()], [...whole.gradients.keys()], what);
  // Gradients that are nothing but rounding, such as those of keys' biases, are measured by the others.
  const largest = Math.max(...[...whole.gradients.values()].map(greatest));
  for (const [name, gradient] of whole.gradients) {
    const size = Math.max(greatest(gradient), 1e-3 * largest);
    for (const [i, value] of gradient.entries()) {
      close(chunked.gradients.get(name)![i]!, value, size, `gradient of ${name}`);
    }
  }
}

const greatest = (values: Float32Array) =>
  values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

const variants: Readonly<Record<string, ClipOptions>> = {
  InfoNCE: {},
  DCL: { decoupledContrastiveLearning: true },
  "FILIP, causal": { useAllTokenEmbeds: true, textCausalMask: true, textEosId: 19 },
  CLOOB: { hopfieldRetrieval: true, extraLatentProjection: true },
  SigLIP: { sigmoidLoss: true },
  "masked words": { useMlm: true },
  "similarity regularisation, no patch dropout": { simRegLossWeight: 0.1, visualPatchDropout: 0 },
  recomputation: { checkpointDuringTraining: true },
  "as x-clip": {
    compat: "x-clip",
    useMlm: true,
    extraLatentProjection: true,
    simRegLossWeight: 0.1,
  },
  "as x-clip, token by token": { compat: "x-clip", useAllTokenEmbeds: true },
};

for (const [name, options] of Object.entries(variants)) {
  test(`${name}: chunks of 1, 2 and 3 of 5 pairs give what the batch gives`, async () => {
    for (const views of [false, true]) {
      const whole = await found(options, {}, views);
      for (const chunkSize of views ? [2] : [1, 2, 3]) {
        const chunked = await found(options, { chunkSize }, views);
        assertSame(chunked, whole, 1e-5, `chunks of ${chunkSize}${views ? ", more views" : ""}`);
      }
    }
  });
}

const ssl: ClipOptions = { useVisualSsl: true, visualSslProjectionHiddenSize: 6 };

for (const options of [ssl, { ...ssl, visualSslType: "simclr" }] as ClipOptions[]) {
  test(`${options.visualSslType ?? "simsiam"} is that of the chunks, by their shares`, async () => {
    const chunked = await found(options, { chunkSize: 3 }, false);
    const parts = await Promise.all(
      [[0, 2] as const, [2, 5] as const].map((range) => found(options, { range }, false)),
    );
    assertClose(
      [chunked.terms.imageSsl!],
      [(2 * parts[0]!.terms.imageSsl! + 3 * parts[1]!.terms.imageSsl!) / 5],
      1e-5,
      "term",
    );
    // These learn by self-supervision alone.
    const heads = [...chunked.gradients].filter(([name]) => name.startsWith("visual_ssl."));
    assert.ok(heads.length > 0);
    for (const [name, gradient] of heads) {
      const [a, b] = parts.map(({ gradients }) => gradients.get(name)!) as [
        Float32Array,
        Float32Array,
      ];
      const expected = a.map((x, i) => (2 * x + 3 * b[i]!) / 5);
      assertClose(gradient, expected, 1e-5, name);
    }
  });
}

test("batch norm's statistics go on from chunk to chunk", async () => {
  const whole = await found(ssl, {}, false);
  const chunked = await found(ssl, { chunkSize: 3 }, false);
  for (const [name, values] of whole.buffers) {
    const of = chunked.buffers.get(name)!;
    if (name.endsWith("num_batches_tracked")) assert.equal(of[0], 2 * values[0]!, name);
    else if (name.includes("running")) assert.notDeepEqual(of, values, name);
  }
});

test("a chunk of one picture is refused where pictures are compared inside a chunk", () =>
  assert.rejects(found(ssl, { chunkSize: 2, range: [0, 3] }, false), {
    name: "ClipsmithError",
    message:
      "training.chunkSize is 2, which makes a chunk of one picture: visual self-supervision compares " +
      "pictures and needs two at least. Make it larger.",
  }));

test("what is frozen gets no gradients, and a side that learns nothing is not run again", async () => {
  for (const loss of [{ freezeImageEncoder: true }, { freezeTextEncoder: true }]) {
    const whole = await found({ useMlm: true }, { loss }, false);
    assertSame(await found({ useMlm: true }, { loss, chunkSize: 2 }, false), whole, 1e-5, "LiT");
  }
  const clip = new CLIP({ ...tinyClip, numTextTokens: 20, textSeqLen: LENGTH });
  const frozen = new Set([...clip.parameters.keys()].filter((name) => /visual/.test(name)));
  const whole = await found({}, { frozen }, false);
  assert.ok(![...whole.gradients.keys()].some((name) => /visual/.test(name)));
  assertSame(await found({}, { frozen, chunkSize: 2 }, false), whole, 1e-5, "only texts");
});
