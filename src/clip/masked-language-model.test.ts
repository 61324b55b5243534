import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import {
  equal,
  evaluate,
  grad,
  graph,
  input,
  not,
  slice,
  type Tensor,
  type Value,
} from "../graph/index.js";
import {
  assertClose,
  assertRuns,
  finiteDifferences,
  floats,
  numbers,
  runOnce,
} from "../graph/testing.js";
import { parameterGradients, Scope } from "../nn/index.js";
import { ClipsmithError } from "../util/errors.js";
import { asFloat32, readSafetensors } from "../weights/index.js";
import { MaskedLanguageModel } from "./masked-language-model.js";
import { mlmOptions, mlmTokenIds } from "./mlm-options.js";
import { TextTransformer } from "./text-transformer.js";

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

const BATCH = 3;
const LENGTH = 5;
const WIDTH = 4;
const TOKENS = 7;
const IGNORED = 0;

const encoded = floats([BATCH, LENGTH, WIDTH], -2, 2, "encoded");
const weight = floats([TOKENS, WIDTH], -1, 1, "weight");
const bias = floats([TOKENS], -1, 1, "bias");
const labelsOf = (...labels: number[]) => numbers(labels, [BATCH, LENGTH], "int32");
const valuesOf = (labels: Value): Record<string, Value> => ({
  encoded,
  labels,
  "mlm.to_logits.weight": weight,
  "mlm.to_logits.bias": bias,
});

/** Gradients as outputs, whose names must not be those of inputs. */
function prefixed(gradients: ReadonlyMap<string, Tensor>): Record<string, Tensor> {
  return Object.fromEntries([...gradients].map(([name, gradient]) => [`d ${name}`, gradient]));
}

function build(ignoreId = IGNORED) {
  const scope = new Scope();
  const model = new MaskedLanguageModel(scope.child("mlm"), {
    width: WIDTH,
    numTokens: TOKENS,
    maskProb: 0.4,
    ignoreId,
  });
  const x = input("encoded", [BATCH, LENGTH, WIDTH]);
  const loss = model.loss(x, input("labels", [BATCH, LENGTH], "int32"));
  const [byEncoded] = grad(loss, [x]);
  const gradients = parameterGradients(loss, scope.parameters);
  const outputs = { "d encoded": byEncoded!, ...prefixed(gradients) };
  return { scope, loss, gradients: outputs };
}

/** Cross entropy of the labelled positions, written out. */
function plainLoss(labels: Value, ignoreId = IGNORED): number {
  const losses = [...labels.data].flatMap((label, position) => {
    if (label === ignoreId) return [];
    const logits = Array.from(bias.data, (b, token) =>
      Array.from({ length: WIDTH }, (_, i) => i).reduce(
        (sum, i) => sum + weight.data[token * WIDTH + i]! * encoded.data[position * WIDTH + i]!,
        b,
      ),
    );
    const whole = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    return [Math.log(whole) - logits[label]!];
  });
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}

test("the parameters are x-clip's", () => {
  const { parameters } = build().scope;
  const uniform = { kind: "uniform", bound: 1 / Math.sqrt(WIDTH) };
  assert.deepEqual(
    [...parameters].map(([name, { shape, initializer }]) => [name, shape, initializer]),
    [
      ["mlm.to_logits.weight", [TOKENS, WIDTH], uniform],
      ["mlm.to_logits.bias", [TOKENS], uniform],
    ],
  );
});

for (const [what, labels, ignoreId] of [
  ["labels anywhere", labelsOf(3, 0, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0), 0],
  ["as many labels as a row may have", labelsOf(0, 0, 0, 6, 5, 1, 1, 0, 0, 0, 0, 2, 0, 3, 0), 0],
  ["an ignored label beside the vocabulary", labelsOf(3, 9, 9, 0, 9, ...Array(10).fill(9)), 9],
] as const) {
  test(`the loss is its formula, with gradients: ${what}`, async () => {
    const { loss, gradients } = build(ignoreId);
    const values = valuesOf(labels);
    const g = graph({ loss, ...gradients });
    const results = evaluate(g, values);
    assertClose(results.loss!.data, [plainLoss(labels, ignoreId)], 1e-12, "loss");
    for (const name of ["encoded", "mlm.to_logits.weight", "mlm.to_logits.bias"]) {
      const expected = finiteDifferences(graph({ loss }), values, name);
      assertClose(results[`d ${name}`]!.data, expected, 1e-6, name);
    }
    await assertRuns(g, values, 1e-5, what);
  });
}

test("without any label the loss is zero, and so are its gradients", async () => {
  const { loss, gradients } = build();
  const g = graph({ loss, ...gradients });
  const results = await runOnce(g, valuesOf(labelsOf(...Array(15).fill(IGNORED))));
  for (const [name, data] of Object.entries(results)) {
    assert.ok(
      data.every((x) => x === 0),
      `${name}: ${data}`,
    );
  }
});

test("only as many positions as can be labelled get logits", () => {
  const { loss } = build();
  const widths = graph({ loss }).nodes.flatMap(({ outputs }) => outputs.map(({ shape }) => shape));
  const logits = widths.filter((shape) => shape.at(-1) === TOKENS && shape.length > 1);
  const rows = logits.map((shape) => shape.slice(0, -1).reduce((a, b) => Number(a) * Number(b), 1));
  // Two of five a text; the transposed weights have one row for each feature.
  assert.deepEqual(new Set(rows), new Set([BATCH * 2, WIDTH]));
});

test("labels of other sizes, and open batches, are refused", () => {
  const options = { width: WIDTH, numTokens: TOKENS, maskProb: 0.4, ignoreId: IGNORED };
  const model = new MaskedLanguageModel(new Scope(), options);
  const call = (batch: number | string, length: number) =>
    model.loss(input("encoded", [batch, LENGTH, WIDTH]), input("labels", [batch, length], "int32"));
  assert.throws(() => call(BATCH, LENGTH + 1), /they are \[3, 5, 4\] and \[3, 6\]/);
  assert.throws(() => call("batch", LENGTH), /of fixed sizes/);
});

test("special tokens are the vocabulary's own unless given, or x-clip's", () => {
  const vocabulary = { numTextTokens: 50, textPadId: 3 };
  assert.deepEqual(mlmTokenIds(vocabulary), { mask: 50, pad: 3 });
  assert.deepEqual(mlmTokenIds(vocabulary, "x-clip"), { mask: 2, pad: 0 });
  const given = { ...vocabulary, mlmMaskTokenId: 7, mlmPadTokenId: 8 };
  assert.deepEqual(mlmTokenIds(given), { mask: 7, pad: 8 });
  assert.deepEqual(mlmTokenIds(given, "x-clip"), { mask: 7, pad: 8 });
  assert.throws(() => mlmTokenIds({ ...vocabulary, mlmMaskTokenId: 51 }), ClipsmithError);
});

test("options have x-clip's defaults, and bounds", () => {
  const schema = z.strictObject(mlmOptions);
  assert.deepEqual(schema.parse({}), {
    useMlm: false,
    textSslLossWeight: 0.05,
    mlmMaskProb: 0.15,
    mlmReplaceProb: 0.9,
    mlmRandomTokenProb: 0,
    mlmMaskIgnoreTokenIds: [],
  });
  for (const wrong of [
    { mlmMaskProb: 0 },
    { mlmMaskProb: 1.1 },
    { mlmReplaceProb: -0.1 },
    { mlmRandomTokenProb: 2 },
    { mlmMaskTokenId: -1 },
    { mlmPadTokenId: 0.5 },
    { textSslLossWeight: -1 },
  ]) {
    assert.ok(!schema.safeParse(wrong).success, JSON.stringify(wrong));
  }
});

for (const [name, shape] of [
  ["mlm", { width: 32, depth: 2, heads: 2, dimHead: 16, maskProb: 0.3 }],
  ["mlm_random", { width: 16, depth: 1, heads: 2, dimHead: 8, maskProb: 0.4 }],
] as const) {
  test(`behind a text encoder the loss is x-clip's, with gradients: ${name}`, async (t) => {
    const file = join(golden, `${name}.safetensors`);
    if (!existsSync(file)) {
      t.skip(`there is no ${file}; name its folder by CLIPSMITH_GOLDEN`);
      return;
    }
    const { tensors } = await readSafetensors(file);
    const stored = (name: string, dtype: "float32" | "int32"): Value => {
      const { data, shape } = tensors.get(name)!;
      return numbers(Array.from(data as ArrayLike<number | bigint>, Number), shape, dtype);
    };
    const scope = new Scope();
    const { maskProb, ...transformer } = shape;
    const encoder = new TextTransformer(scope.child("text_transformer"), {
      ...transformer,
      numTokens: 101,
      maxSeqLen: 16,
    });
    const model = new MaskedLanguageModel(scope.child("mlm"), {
      width: shape.width,
      numTokens: 100,
      maskProb,
      ignoreId: 0,
    });
    const text = input("text", [5, 16], "int32");
    const sequence = input("sequence", [5, 16], "int32");
    const words = slice(encoder.call(sequence, not(equal(text, 0))), 1, 1);
    const loss = model.loss(words, input("labels", [5, 16], "int32"));
    const gradients = parameterGradients(loss, scope.parameters);
    const results = await runOnce(graph({ loss, ...prefixed(gradients) }), {
      ...Object.fromEntries(
        [...scope.parameters.keys()].map((name) => [name, stored(`param.${name}`, "float32")]),
      ),
      text: stored("in.text", "int32"),
      sequence: stored("in.mlm_seq", "int32"),
      labels: stored("in.mlm_labels", "int32"),
    });
    const expected = asFloat32(tensors.get("out.text_ssl_loss")!);
    assertClose(results.loss!, expected, 2e-7, "loss");
    for (const parameter of ["mlm.to_logits.weight", "mlm.to_logits.bias"]) {
      // The whole loss has this one with a weight of 0.05, and nothing else reads these parameters.
      const weighted = results[`d ${parameter}`]!.map((x) => x * 0.05);
      const gradient = asFloat32(tensors.get(`grad.${parameter}`)!);
      assertClose(weighted, gradient, 1e-5, parameter);
    }
  });
}
