/** Names, shapes and starting values are x-clip's, so that weights move both ways. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Initializer, initialize, type Parameter } from "../nn/index.js";
import { CLIP } from "./clip.js";

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

const layer = (width: number, inner: number) => [
  ["norm.g", [width]],
  ["fn.to_qkv.weight", [3 * inner, width]],
  ["fn.to_out.0.weight", [width, inner]],
  ["fn.to_out.1.g", [width]],
  ["norm.g", [width]],
  ["fn.net.0.weight", [8 * width, width]],
  ["fn.net.2.g", [4 * width]],
  ["fn.net.4.weight", [width, 4 * width]],
];

test("a small model's parameters have x-clip's names, shapes and order", () => {
  const clip = new CLIP({
    dimText: 8,
    dimImage: 12,
    dimLatent: 6,
    numTextTokens: 20,
    textEncDepth: 1,
    textSeqLen: 5,
    textHeads: 2,
    textDimHead: 4,
    visualEncDepth: 2,
    visualHeads: 3,
    visualDimHead: 4,
    visualImageSize: 8,
    visualPatchSize: 4,
    channels: 1,
  });
  const encoder = (name: string, depth: number, width: number, inner: number) => [
    ...Array.from({ length: depth }, (_, i) =>
      layer(width, inner).map(([part, shape], place) => [
        `${name}.transformer.layers.${i}.${place < 4 ? 0 : 1}.${part}`,
        shape,
      ]),
    ).flat(),
    [`${name}.transformer.norm_in.g`, [width]],
    [`${name}.transformer.norm_out.g`, [width]],
  ];
  assert.deepEqual(
    [...clip.parameters].map(([name, { shape }]) => [name, shape]),
    [
      ["temperature", []],
      ["text_transformer.cls_token", [8]],
      ["text_transformer.token_emb.weight", [20, 8]],
      ["text_transformer.abs_pos_emb.weight", [5, 8]],
      ...encoder("text_transformer", 1, 8, 8),
      ["visual_transformer.to_tokens.1.weight", [12, 16]],
      ["visual_transformer.to_tokens.1.bias", [12]],
      ["visual_transformer.pos_emb.weight", [4, 12]],
      ...encoder("visual_transformer", 2, 12, 12),
      ["visual_transformer.to_cls_tokens.1.weight", [12, 12]],
      ["to_text_latent.weight", [6, 8]],
      ["to_visual_latent.weight", [6, 12]],
      ["to_text_latent_extra.weight", [6, 8]],
      ["to_visual_latent_extra.weight", [6, 12]],
    ],
  );
});

test("rotary frequencies take the place of learnt positions", () => {
  const { parameters } = new CLIP({ textRotaryPosEmb: true });
  assert.ok(!parameters.has("text_transformer.abs_pos_emb.weight"));
  const frequencies = parameters.get("text_transformer.rotary_pos_emb.inv_freq");
  assert.deepEqual([frequencies?.shape, frequencies?.trainable], [[16], false]);
});

const sizeOf = ({ shape }: Parameter) => shape.reduce((a, b) => a * b, 1);

test("the default model has 58,545,153 parameters", () => {
  const count = [...new CLIP().parameters.values()].reduce((sum, p) => sum + sizeOf(p), 0);
  assert.equal(count, 58_545_153);
});

test("the temperature starts at 1, gains at 1, and extra projections as the others", () => {
  const clip = new CLIP({ dimText: 8, dimImage: 8, dimLatent: 4, visualImageSize: 32 });
  const small = new Map(
    [...clip.parameters].filter(
      ([name]) => !name.includes("token_emb") && !name.includes("layers."),
    ),
  );
  const values = initialize(small, 5);
  assert.deepEqual([...values.get(CLIP.logitScale)!], [1]);
  assert.ok(values.get("visual_transformer.transformer.norm_in.g")!.every((gain) => gain === 1));
  for (const side of ["text", "visual"]) {
    const extra = values.get(`to_${side}_latent_extra.weight`);
    assert.deepEqual(extra, values.get(`to_${side}_latent.weight`));
  }
});

interface Sizes {
  readonly state_dict: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly alias_of: string | null;
  }[];
  readonly init_stats: Readonly<
    Record<string, { readonly mean: number; readonly std: number; min: number; max: number }>
  >;
}

/** Standard deviation and greatest magnitude of an initializer's values. */
function spread(initializer: Initializer, parameters: ReadonlyMap<string, Parameter>) {
  switch (initializer.kind) {
    case "constant":
      return { mean: initializer.value, deviation: 0, bound: initializer.value };
    case "uniform":
      return { mean: 0, deviation: initializer.bound / Math.sqrt(3), bound: initializer.bound };
    case "normal":
      return { mean: 0, deviation: initializer.deviation, bound: Number.POSITIVE_INFINITY };
    case "copy":
      return spread(parameters.get(initializer.of)!.initializer, parameters);
    case "values":
      throw new Error("no buffer is compared");
  }
}

for (const model of ["default", "readme"]) {
  test(`parameters of x-clip's ${model} model start as x-clip's`, (t) => {
    const path = join(golden, "default_sizes.json");
    if (!existsSync(path)) {
      t.skip(`there is no ${path}; name its folder by CLIPSMITH_GOLDEN`);
      return;
    }
    const { state_dict, init_stats } = JSON.parse(readFileSync(path, "utf8"))[model] as Sizes;
    // The README's model has Clipsmith's defaults, and parts for visual self-supervision.
    const { parameters } = new CLIP();
    assert.deepEqual(
      [...parameters].map(([name, { shape }]) => ({ name, shape })),
      state_dict
        .filter(({ name, alias_of }) => alias_of === null && !name.startsWith("visual_ssl."))
        .map(({ name, shape }) => ({ name, shape })),
    );
    for (const [name, parameter] of parameters) {
      const expected = init_stats[name]!;
      const { mean, deviation, bound } = spread(parameter.initializer, parameters);
      // Six times the standard error of a mean and of a deviation.
      const error = (6 * deviation) / Math.sqrt(sizeOf(parameter)) + 1e-9;
      assert.ok(Math.abs(expected.mean - mean) <= error, `${name}: mean ${expected.mean}`);
      assert.ok(Math.abs(expected.std - deviation) <= error, `${name}: deviation ${expected.std}`);
      const largest = Math.max(-expected.min, expected.max);
      assert.ok(largest <= bound * (1 + 1e-6), `${name}: reaches ${largest}, past ${bound}`);
    }
  });
}
