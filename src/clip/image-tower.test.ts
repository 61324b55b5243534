import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { graph, input, type Value } from "../graph/index.js";
import { assertClose, assertRuns, floats, numbers } from "../graph/testing.js";
import { CLIP } from "./clip.js";
import type { ClipOptions } from "./options.js";
import { outputOf, parametersOf, tiny } from "./testing.js";

const BATCH = 2;
const PATCHES = 16;
const WIDTH = 12;
const LATENT = 4;
const options: ClipOptions = { ...tiny, visualImageSize: 16, useAllTokenEmbeds: true };
const image = floats([BATCH, 3, 16, 16]);
const allPatches = Array.from({ length: PATCHES }, (_, i) => i);

/** Patches of each picture, as an input and its value. */
function kept(rows: readonly (readonly number[])[]) {
  const shape = [BATCH, rows[0]!.length];
  return {
    tensor: input("kept", shape, "int32"),
    value: numbers(rows.flat(), shape, "int32"),
  };
}

/** Tokens [B, N, D] as lists. */
function tokensOf(data: Float64Array): number[][][] {
  const count = data.length / BATCH / WIDTH;
  return Array.from({ length: BATCH }, (_, row) =>
    Array.from({ length: count }, (_, t) => [
      ...data.subarray((row * count + t) * WIDTH, (row * count + t + 1) * WIDTH),
    ]),
  );
}

const unit = (row: readonly number[]) => row.map((x) => x / Math.hypot(...row));

/** The convolution of each channel, 4 x 4, stride 2, padding 1, and the linear layer, written out. */
function plainDownsampled(
  grid: readonly (readonly number[])[],
  [rows, columns]: readonly [number, number],
  values: Readonly<Record<string, Value>>,
  name = "to_visual_latent",
): number[] {
  const [depthwise, pointwise, bias] = ["1.weight", "2.weight", "2.bias"].map(
    (part) => values[`${name}.${part}`]!.data,
  ) as [Float64Array, Float64Array, Float64Array];
  const latents: number[] = [];
  for (let y = 0; y < Math.floor(rows / 2); y++) {
    for (let x = 0; x < Math.floor(columns / 2); x++) {
      const sums = Array.from({ length: WIDTH }, (_, d) => {
        let sum = 0;
        for (let i = 0; i < 16; i++) {
          const [row, column] = [2 * y - 1 + Math.floor(i / 4), 2 * x - 1 + (i % 4)];
          if (row < 0 || column < 0 || row >= rows || column >= columns) continue;
          sum += depthwise[d * 16 + i]! * grid[row * columns + column]![d]!;
        }
        return sum;
      });
      const latent = Array.from(bias, (b, l) =>
        sums.reduce((sum, s, d) => sum + s * pointwise[l * WIDTH + d]!, b),
      );
      latents.push(...unit(latent));
    }
  }
  return latents;
}

test("without visualHasClsToken the pooled token is one more patch", () => {
  for (const visualHasClsToken of [true, false]) {
    const clip = new CLIP({ ...options, visualHasClsToken });
    const values: Record<string, Value> = { ...parametersOf(clip), image };
    const encoded = clip.encodeImage(clip.inputs(BATCH).image);
    const tokens = tokensOf(outputOf(encoded, values)).flatMap((row) =>
      row.slice(Number(visualHasClsToken)),
    );
    const matrix = values["to_visual_latent.weight"]!.data;
    const expected = tokens.flatMap((token) =>
      unit([0, 1, 2, 3].map((l) => token.reduce((s, x, d) => s + x * matrix[l * WIDTH + d]!, 0))),
    );
    assertClose(outputOf(clip.imageLatents(encoded), values), expected, 1e-9, "latents");
  }
});

describe("downsampleImageEmbeds", () => {
  const clip = new CLIP({ ...options, downsampleImageEmbeds: true, extraLatentProjection: true });
  const values: Record<string, Value> = { ...parametersOf(clip), image };
  const pictures = clip.inputs(BATCH).image;

  test("halves the grid by a convolution", async () => {
    const encoded = clip.encodeImage(pictures);
    const grids = tokensOf(outputOf(encoded, values)).map((tokens) => tokens.slice(1));
    const latents = clip.imageLatents(encoded);
    assert.deepEqual(latents.shape, [BATCH, 4, LATENT]);
    const expected = grids.flatMap((grid) => plainDownsampled(grid, [4, 4], values));
    assertClose(outputOf(latents, values), expected, 1e-9, "latents");
    const extra = grids.flatMap((grid) =>
      plainDownsampled(grid, [4, 4], values, "to_visual_latent_extra"),
    );
    assertClose(outputOf(clip.imageLatentsExtra(encoded), values), extra, 1e-9, "extra");
    await assertRuns(graph({ latents }), values, 1e-5, "latents");
  });

  test("a grid of odd sides loses its last row and column", () => {
    const odd = new CLIP({ ...options, visualImageSize: 20, downsampleImageEmbeds: true });
    const values = { ...parametersOf(odd), image: floats([BATCH, 3, 20, 20]) };
    const encoded = odd.encodeImage(odd.inputs(BATCH).image);
    const grids = tokensOf(outputOf(encoded, values)).map((tokens) => tokens.slice(1));
    const expected = grids.flatMap((grid) => plainDownsampled(grid, [5, 5], values));
    assertClose(outputOf(odd.imageLatents(encoded), values), expected, 1e-9, "latents");
  });

  test("of all patches in any order is that of all", () => {
    const { tensor, value } = kept([allPatches.toReversed(), allPatches.map((i) => (i * 5) % 16)]);
    const whole = outputOf(clip.imageLatents(clip.encodeImage(pictures)), values);
    const shuffled = clip.imageLatents(clip.encodeImage(pictures, tensor), tensor);
    assertClose(outputOf(shuffled, { ...values, kept: value }), whole, 1e-9, "shuffled");
  });

  test("takes dropped patches for zeros in their places", async () => {
    const rows = [
      [3, 15, 0, 8, 5, 4, 1, 12],
      [7, 2, 9, 10, 11, 6, 14, 13],
    ];
    const { tensor, value } = kept(rows);
    const encoded = clip.encodeImage(pictures, tensor);
    const fed = { ...values, kept: value };
    const expected = tokensOf(outputOf(encoded, fed)).flatMap(([, ...tokens], row) => {
      const places = rows[row]!;
      const grid = allPatches.map((patch) => tokens[places.indexOf(patch)] ?? Array(WIDTH).fill(0));
      return plainDownsampled(grid, [4, 4], values);
    });
    const latents = clip.imageLatents(encoded, tensor);
    assertClose(outputOf(latents, fed), expected, 1e-9, "latents");
    await assertRuns(graph({ latents }), fed, 1e-5, "latents");
  });

  test("with compat takes patches in drawn order for a grid", () => {
    for (const [keptCount, grid] of [
      [8, [2, 4]],
      [9, [3, 3]],
      [12, [3, 4]],
    ] as const) {
      const compat = new CLIP({
        ...options,
        downsampleImageEmbeds: true,
        visualPatchDropout: 1 - keptCount / PATCHES,
        compat: "x-clip",
      });
      assert.equal(compat.keptPatches, keptCount);
      const order = allPatches.map((i) => (i * 7) % 16).slice(0, keptCount);
      const { tensor, value } = kept([order, order.toReversed()]);
      const fed = { ...parametersOf(compat), image, kept: value };
      const encoded = compat.encodeImage(pictures, tensor);
      const expected = tokensOf(outputOf(encoded, fed)).flatMap(([, ...tokens]) =>
        plainDownsampled(tokens, grid, fed),
      );
      assertClose(outputOf(compat.imageLatents(encoded, tensor), fed), expected, 1e-9, "latents");
    }
  });
});

test("extra projections are used where asked for, and whole pictures have one latent", () => {
  for (const extraLatentProjection of [false, true]) {
    const clip = new CLIP({ ...tiny, extraLatentProjection });
    const { image, text } = clip.inputs(BATCH);
    const values: Record<string, Value> = {
      ...parametersOf(clip),
      image: floats([BATCH, 3, 8, 8]),
      text: numbers([4, 5, 6, 0, 0, 0, 7, 8, 0, 0, 0, 0], [BATCH, 6], "int32"),
    };
    const suffix = extraLatentProjection ? "_extra" : "";
    for (const [encoded, extra, plain, side] of [
      [clip.encodeText(text), "textLatentsExtra", "textLatents", "text"],
      [clip.encodeImage(image), "imageLatentsExtra", "imageLatents", "visual"],
    ] as const) {
      const own = outputOf(clip[extra](encoded), values);
      const matrix = values[`to_${side}_latent${suffix}.weight`]!;
      const other = { ...values, [`to_${side}_latent.weight`]: matrix };
      assertClose(own, outputOf(clip[plain](encoded), other), 1e-12, extra);
      const first = outputOf(clip[plain](encoded), values);
      if (extraLatentProjection) assert.notDeepEqual(own, first);
      const embedded = side === "text" ? clip.embedText(text) : clip.embedImage(image);
      assertClose(outputOf(embedded, values), first, 1e-9, "embedded by the first projection");
    }
  }
});
