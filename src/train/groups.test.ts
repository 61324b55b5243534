import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP } from "../clip/index.js";
import { type GroupOptions, layerFactors, ParameterGroups } from "./groups.js";
import { tinyClip } from "./testing.js";

const clip = new CLIP({ ...tinyClip, textEncDepth: 3, visualEncDepth: 2, numTextTokens: 20 });
const names = [...clip.parameters].filter(([, { trainable }]) => trainable).map(([name]) => name);
const groups = (options: Partial<GroupOptions>) =>
  new ParameterGroups(names, {
    learningRateFactors: { textEncoder: 1, imageEncoder: 1, heads: 1 },
    layerDecay: 1,
    freeze: [],
    ...options,
  });

test("by default everything learns at the same rate, and nothing is frozen", () => {
  const all = groups({});
  for (const name of names) assert.equal(all.factorOf(name), 1);
  assert.equal(all.frozenAt(0).size, 0);
  assert.equal(all.frozen.size, 0);
});

test("encoders and heads have factors of their own", () => {
  const { factorOf } = groupsBy({ textEncoder: 2, imageEncoder: 3, heads: 5 });
  assert.equal(factorOf("text_transformer.token_emb.weight"), 2);
  assert.equal(factorOf("visual_transformer.transformer.layers.1.0.fn.to_qkv.weight"), 3);
  for (const name of ["temperature", "to_text_latent.weight", "to_visual_latent.weight"]) {
    assert.equal(factorOf(name), 5);
  }
});

function groupsBy(learningRateFactors: GroupOptions["learningRateFactors"]) {
  const found = groups({ learningRateFactors });
  return { factorOf: (name: string) => found.factorOf(name) };
}

test("layers learn slower the deeper they lie, embeddings slowest, the last norm and heads at the whole rate", () => {
  const decayed = groups({
    layerDecay: 0.5,
    learningRateFactors: { textEncoder: 1, imageEncoder: 8, heads: 1 },
  });
  const expected = {
    "text_transformer.cls_token": 1 / 16,
    "text_transformer.token_emb.weight": 1 / 16,
    "text_transformer.transformer.norm_in.g": 1 / 16,
    "text_transformer.transformer.layers.0.0.norm.g": 1 / 8,
    "text_transformer.transformer.layers.1.1.fn.net.4.weight": 1 / 4,
    "text_transformer.transformer.layers.2.0.fn.to_qkv.weight": 1 / 2,
    "text_transformer.transformer.norm_out.g": 1,
    "visual_transformer.to_tokens.1.weight": 8 / 8,
    "visual_transformer.pos_emb.weight": 8 / 8,
    "visual_transformer.transformer.layers.0.0.norm.g": 8 / 4,
    "visual_transformer.transformer.layers.1.0.norm.g": 8 / 2,
    "visual_transformer.to_cls_tokens.1.weight": 8,
    temperature: 1,
    "to_visual_latent.weight": 1,
  };
  for (const [name, factor] of Object.entries(expected)) {
    assert.equal(decayed.factorOf(name), factor, name);
  }
  for (const name of names) assert.ok(decayed.factorOf(name) > 0, name);
});

test("an encoder of one's own without layers learns at the whole rate", () => {
  const factors = layerFactors(["visual_transformer.first.weight", "visual_transformer.out"], 0.5);
  assert.deepEqual([...factors.values()], [1, 1]);
});

test("patterns freeze parameters for all steps, or for some", () => {
  const frozen = groups({
    freeze: [
      { match: "visual_transformer.*" },
      { match: "text_transformer.token_emb.weight", untilStep: 5 },
      { match: "visual_transformer.pos_emb.weight", untilStep: 3 },
    ],
  });
  const image = names.filter((name) => name.startsWith("visual_transformer."));
  assert.deepEqual([...frozen.frozen].toSorted(), image.toSorted());
  for (const [step, size] of [
    [0, image.length + 1],
    [4, image.length + 1],
    [5, image.length],
  ] as const) {
    assert.equal(frozen.frozenAt(step).size, size);
  }
});

test("a pattern without a match, and one that leaves nothing to learn, are refused", () => {
  assert.throws(() => groups({ freeze: [{ match: "visual.*" }] }), {
    name: "ClipsmithError",
    message: /^training\.freeze: no parameter is named visual\.\*; .*visual_transformer\.\*/,
  });
  assert.throws(() => groups({ freeze: [{ match: "*" }] }), {
    name: "ClipsmithError",
    message: /nothing is left to learn/,
  });
  // A dot is a dot.
  assert.throws(() => groups({ freeze: [{ match: "visual_transformer_pos_emb.weight" }] }), {
    name: "ClipsmithError",
  });
  // For a while it is allowed for some, and all again later.
  assert.equal(groups({ freeze: [{ match: "t*", untilStep: 2 }] }).frozen.size, 0);
});
