import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ClipOptions, clipOptionsSchema, objective, type Views } from "../clip/index.js";
import { weighted } from "../clip/objective.js";
import { evaluate, exp, grad, graph, input, l2norm, type Value, value } from "../graph/index.js";
import { floats, numbers } from "../graph/testing.js";
import type { Band } from "./tile-pass.js";
import {
  type BatchLatents,
  type ObjectiveParts,
  TiledObjective,
  type TiledObjectiveOptions,
  type TiledResult,
} from "./tiled-objective.js";

const BATCH = 5;
const WIDTH = 4;
const TOKENS = 3;
const PATCHES = 2;
const WEIGHTS = { contrastive: 0.6, multiview: 0.4, similarityRegularisation: 0.7 };

/** What is to be compared: options, and how many views of texts and of images there are. */
interface Case {
  readonly options: ClipOptions;
  readonly texts?: number;
  readonly images?: number;
}

const all: ClipOptions = { simRegLossWeight: 0.7 };
const cases: Readonly<Record<string, Case>> = {
  InfoNCE: { options: {} },
  "InfoNCE as x-clip": { options: { compat: "x-clip" } },
  "InfoNCE with extra projections": { options: { ...all, extraLatentProjection: true } },
  "InfoNCE of many views": { options: all, texts: 2, images: 3 },
  DCL: { options: { decoupledContrastiveLearning: true } },
  "DCL as x-clip, of many views": {
    options: { ...all, decoupledContrastiveLearning: true, compat: "x-clip" },
    images: 2,
  },
  CLOOB: { options: { ...all, hopfieldRetrieval: true } },
  "CLOOB with extra projections, of many views": {
    options: { ...all, hopfieldRetrieval: true, extraLatentProjection: true },
    texts: 2,
  },
  SigLIP: { options: { ...all, sigmoidLoss: true } },
  "SigLIP with extra projections, of many views": {
    options: { sigmoidLoss: true, extraLatentProjection: true },
    texts: 2,
  },
  FILIP: { options: { ...all, useAllTokenEmbeds: true } },
  "FILIP as x-clip": { options: { ...all, useAllTokenEmbeds: true, compat: "x-clip" } },
  "FILIP with DCL, extra projections and many views": {
    options: {
      ...all,
      useAllTokenEmbeds: true,
      decoupledContrastiveLearning: true,
      extraLatentProjection: true,
    },
    texts: 2,
  },
  "FILIP with SigLIP": { options: { useAllTokenEmbeds: true, sigmoidLoss: true } },
  "FILIP with SigLIP and extra projections, as x-clip": {
    options: {
      useAllTokenEmbeds: true,
      sigmoidLoss: true,
      extraLatentProjection: true,
      compat: "x-clip",
    },
  },
};

/** Pairs of a text and an image; nothing is left to tell text 3 or image 3 from. */
const EXCLUDED = [0, 1, 0, 3, 1, 3, 2, 0, 2, 3, 3, 0, 3, 1, 3, 2, 3, 4, 4, 3];

/** Vectors of length 1. */
function units(shape: readonly number[], key: string): Value {
  const rows = floats(shape, -1, 1, key);
  const { y } = evaluate(graph({ y: l2norm(input("x", rows.shape)) }), { x: rows });
  return value("float32", shape, (i) => Math.fround(y!.data[i]!));
}

/** Latents by the names of the untiled graph's inputs: `text.0`, `imageExtra.1`, `textMask.0` and so on. */
function latentsOf({ options, texts = 1, images = 1 }: Case): Record<string, Value> {
  const { useAllTokenEmbeds, extraLatentProjection } = clipOptionsSchema.parse(options);
  const values: Record<string, Value> = {};
  const add = (side: string, count: number, tokens: number) => {
    const shape = useAllTokenEmbeds ? [BATCH, tokens, WIDTH] : [BATCH, WIDTH];
    for (let view = 0; view < count; view++) {
      for (const name of [side, ...(extraLatentProjection ? [`${side}Extra`] : [])]) {
        values[`${name}.${view}`] = units(shape, `${name}.${view}`);
      }
    }
  };
  add("text", texts, TOKENS);
  add("image", images, PATCHES);
  // Texts of all lengths, one of them without a token.
  for (let view = 0; view < texts && useAllTokenEmbeds; view++) {
    values[`textMask.${view}`] = value("bool", [BATCH, TOKENS], (i) =>
      Number(i % TOKENS < (Math.floor(i / TOKENS) + view + 1) % (TOKENS + 1)),
    );
  }
  return values;
}

/** The untiled objective in double precision. */
function untiled(
  { options: chosen, texts = 1, images = 1 }: Case,
  latents: Readonly<Record<string, Value>>,
  scalars: { readonly temperature: number; readonly bias: number },
  excluded: readonly number[],
) {
  const options = clipOptionsSchema.parse({ ...chosen, dimLatent: WIDTH });
  const inputs = Object.fromEntries(
    Object.entries(latents).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
  );
  const views: Views = {
    texts: Array.from({ length: texts }, (_, i) => ({
      text: inputs[`text.${i}`]!,
      textExtra: inputs[`textExtra.${i}`],
      textMask: inputs[`textMask.${i}`],
    })),
    images: Array.from({ length: images }, (_, i) => ({
      image: inputs[`image.${i}`]!,
      imageExtra: inputs[`imageExtra.${i}`],
    })),
  };
  const temperature = input("temperature", []);
  const bias = input("bias", []);
  const terms = objective(
    options,
    views,
    { scale: exp(temperature), bias: options.sigmoidLoss ? bias : undefined },
    excluded.length > 0 ? input("excluded", [BATCH, BATCH], "bool") : undefined,
  );
  const loss = weighted(
    Object.entries(terms).map(([name, term]) => [WEIGHTS[name as keyof ObjectiveParts], term]),
  );
  const wrt = Object.entries({ ...inputs, temperature, bias }).filter(
    ([, { dtype }]) => dtype === "float32",
  );
  const gradients = grad(
    loss,
    wrt.map(([, tensor]) => tensor),
  );
  const outputs = wrt.flatMap(([name], i) =>
    gradients[i] ? [[`gradient of ${name}`, gradients[i]] as const] : [],
  );
  const matrix = Array<number>(BATCH * BATCH).fill(0);
  for (let at = 0; at < excluded.length; at += 2)
    matrix[excluded[at]! * BATCH + excluded[at + 1]!] = 1;
  return evaluate(graph({ ...terms, ...Object.fromEntries(outputs) }), {
    ...latents,
    temperature: numbers([Math.fround(scalars.temperature)], []),
    bias: numbers([scalars.bias], []),
    excluded: numbers(matrix, [BATCH, BATCH], "bool"),
  });
}

/** The same as arrays. */
function arraysOf({ texts = 1, images = 1 }: Case, latents: Readonly<Record<string, Value>>) {
  const floatsOf = (name: string) => latents[name] && Float32Array.from(latents[name].data);
  return {
    batch: BATCH,
    texts: Array.from({ length: texts }, (_, i) => ({
      text: floatsOf(`text.${i}`)!,
      textExtra: floatsOf(`textExtra.${i}`),
      textMask: latents[`textMask.${i}`] && Uint8Array.from(latents[`textMask.${i}`]!.data),
    })),
    images: Array.from({ length: images }, (_, i) => ({
      image: floatsOf(`image.${i}`)!,
      imageExtra: floatsOf(`imageExtra.${i}`),
    })),
  } satisfies BatchLatents;
}

/** What the tiled objective found, by the names of the untiled graph's outputs. */
function named({ terms, gradients }: TiledResult): Record<string, ArrayLike<number>> {
  const { texts, images, temperature, bias } = gradients;
  const views = [...texts.entries(), ...images.entries()].flatMap(([i, view]) =>
    Object.entries(view).map(([name, array]) => [`gradient of ${name}.${i}`, array!] as const),
  );
  return {
    ...Object.fromEntries(Object.entries(terms).map(([name, term]) => [name, [term]])),
    ...Object.fromEntries(views),
    "gradient of temperature": [temperature],
    ...(bias !== undefined && { "gradient of bias": [bias] }),
  };
}

function assertSame(
  actual: Record<string, ArrayLike<number>>,
  expected: Readonly<Record<string, Value>>,
  what: string,
): void {
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort(), what);
  for (const [name, { data }] of Object.entries(expected)) {
    const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    assert.equal(actual[name]!.length, data.length, `${what}: ${name}`);
    for (const [i, x] of data.entries()) {
      const error = Math.abs(actual[name]![i]! - x);
      assert.ok(
        error <= 1e-5 * largest + 1e-12,
        `${what}: ${name}[${i}] is ${actual[name]![i]}, must be ${x}`,
      );
    }
  }
}

const scalars = { temperature: 1.5, bias: -1 };

function clipOf({ options }: Case) {
  return { options: clipOptionsSchema.parse({ ...options, dimLatent: WIDTH }) };
}

/** The option that makes tiles of so many samples: token by token, each takes the place of several. */
function tileOf({ options }: Case, samples: number): number {
  return Math.ceil(samples * (options.useAllTokenEmbeds ? Math.sqrt(TOKENS * PATCHES) : 1));
}

async function usingTiled(
  options: TiledObjectiveOptions,
  f: (tiled: TiledObjective) => Promise<void>,
): Promise<void> {
  const tiled = await TiledObjective.open({ runtime: { threads: 1 }, ...options });
  try {
    await f(tiled);
  } finally {
    await tiled.release();
  }
}

describe("tiled equals untiled", () => {
  for (const [name, chosen] of Object.entries(cases)) {
    test(name, async () => {
      const latents = latentsOf(chosen);
      for (const excluded of [[], EXCLUDED]) {
        const expected = untiled(chosen, latents, scalars, excluded);
        for (const samples of excluded.length > 0 ? [1, 2, 3, 8] : [2]) {
          await usingTiled(
            { clip: clipOf(chosen), tile: tileOf(chosen, samples) },
            async (tiled) => {
              const pairs = Int32Array.from(excluded);
              const found = await tiled.run(arraysOf(chosen, latents), scalars, pairs, WEIGHTS);
              const what = `tiles of ${samples}, ${excluded.length / 2} excluded`;
              assertSame(named(found), expected, what);
            },
          );
        }
      }
    });
  }
});

/** Lets functions run as ranks, each with what gathers from all of them. */
async function asRanks<T>(
  count: number,
  rank: (index: number, gather: Band["gather"]) => Promise<T>,
): Promise<T[]> {
  let arrived: { index: number; values: Float32Array; go: (all: Float32Array) => void }[] = [];
  const gather = (index: number) => (values: Float32Array) =>
    new Promise<Float32Array>((go) => {
      arrived.push({ index, values: values.slice(), go });
      if (arrived.length < count) return;
      const inOrder = arrived.sort((a, b) => a.index - b.index);
      arrived = [];
      const all = Float32Array.from(inOrder.flatMap(({ values }) => [...values]));
      for (const { go } of inOrder) go(all);
    });
  return Promise.all(Array.from({ length: count }, (_, index) => rank(index, gather(index))));
}

describe("ranks that share a batch find what one finds", () => {
  for (const [name, chosen] of Object.entries(cases)) {
    test(name, async () => {
      const latents = latentsOf(chosen);
      const expected = untiled(chosen, latents, scalars, EXCLUDED);
      await usingTiled({ clip: clipOf(chosen), tile: tileOf(chosen, 2) }, async (tiled) => {
        for (const ends of [
          [3, 5],
          [1, 1, 5],
        ]) {
          const bands = ends.map((end, i) => ({ start: ends[i - 1] ?? 0, end }));
          const found = await asRanks(bands.length, (rank, gather) =>
            tiled.run(arraysOf(chosen, latents), scalars, Int32Array.from(EXCLUDED), WEIGHTS, {
              ...bands[rank]!,
              gather,
            }),
          );
          const parts = found.map(named);
          for (const [rank, { terms, gradients }] of found.entries()) {
            assert.deepEqual(terms, found[0]!.terms, "every rank knows the same terms");
            assert.equal(gradients.temperature, found[0]!.gradients.temperature);
            assert.equal(gradients.bias, found[0]!.gradients.bias);
            const { start, end } = bands[rank]!;
            const size = latents["text.0"]!.data.length / BATCH;
            assert.equal(gradients.texts[0]!.text.length, (end - start) * size, "own samples");
          }
          const together = Object.keys(parts[0]!).map((key) => [
            key,
            /\.\d+$/.test(key) ? parts.flatMap((part) => Array.from(part[key]!)) : parts[0]![key]!,
          ]);
          assertSame(Object.fromEntries(together), expected, `ranks up to ${ends}`);
        }
      });
    });
  }
});

describe("at extremes", () => {
  /** Cosines of 1, 1/2, 0, -1/2 and -1 that float32 holds exactly. */
  const signs = [1, 1, 1, 1, 1, 1, 1, -1, 1, 1, -1, -1, -1, 1, 1, 1, -1, -1, -1, -1];
  const halves = (key: string, order: readonly number[]): Record<string, Value> => ({
    [key]: numbers(
      order.flatMap((i) => signs.slice(i * WIDTH, (i + 1) * WIDTH).map((sign) => sign / 2)),
      [BATCH, WIDTH],
    ),
  });
  const exact = { ...halves("text.0", [0, 1, 2, 3, 4]), ...halves("image.0", [1, 0, 2, 4, 3]) };
  // What CLOOB retrieves float32 does not hold exactly: its rounding grows with the scale.
  const extremes: Readonly<Record<string, { options: ClipOptions; temperatures: number[] }>> = {
    InfoNCE: { options: {}, temperatures: [-20, 7, 12] },
    "InfoNCE as x-clip": { options: { compat: "x-clip" }, temperatures: [-20, 7, 12] },
    DCL: { options: { decoupledContrastiveLearning: true }, temperatures: [-20, 7, 12] },
    CLOOB: { options: { hopfieldRetrieval: true, hopfieldSharpness: 100 }, temperatures: [-20, 2] },
    SigLIP: { options: { sigmoidLoss: true }, temperatures: [-20, 7, 12] },
  };
  for (const [name, { options, temperatures }] of Object.entries(extremes)) {
    for (const temperature of temperatures) {
      test(`${name} at a scale of exp(${temperature})`, async () => {
        const chosen = { options };
        const extreme = { temperature, bias: -10 };
        const expected = untiled(chosen, exact, extreme, []);
        await usingTiled({ clip: clipOf(chosen), tile: 2 }, async (tiled) => {
          const pairs = new Int32Array();
          const found = await tiled.run(arraysOf(chosen, exact), extreme, pairs, WEIGHTS);
          assertSame(named(found), expected, name);
        });
      });
    }
  }
});

test("a single pair has nothing to be told from", async () => {
  for (const options of [{}, { decoupledContrastiveLearning: true }]) {
    await usingTiled({ clip: clipOf({ options }) }, async (tiled) => {
      const one = { batch: 1, texts: [{ text: Float32Array.of(1, 0, 0, 0) }] };
      const images = [{ image: Float32Array.of(0, 1, 0, 0) }];
      const pairs = new Int32Array();
      const { terms, gradients } = await tiled.run({ ...one, images }, scalars, pairs, WEIGHTS);
      assert.deepEqual(terms, { contrastive: 0 });
      assert.deepEqual([...gradients.texts[0]!.text], [0, 0, 0, 0]);
    });
  }
});

test("latents that are no numbers make a loss that is none", async () => {
  for (const [name, chosen] of Object.entries(cases)) {
    const latents = latentsOf(chosen);
    latents["text.0"]!.data.fill(Number.NaN, 0, WIDTH);
    await usingTiled({ clip: clipOf(chosen), tile: tileOf(chosen, 3) }, async (tiled) => {
      const pairs = new Int32Array();
      const { terms } = await tiled.run(arraysOf(chosen, latents), scalars, pairs, WEIGHTS);
      assert.ok(Number.isNaN(terms.contrastive), name);
    });
  }
});
