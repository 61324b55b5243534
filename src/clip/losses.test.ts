import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { evaluate, graph, input, mean, mul, reshape, type Value } from "../graph/index.js";
import { assertClose, floats, numbers } from "../graph/testing.js";
import { parameterGradients } from "../nn/index.js";
import { CLIP } from "./clip.js";
import type { ClipInputs } from "./inputs.js";
import type { ClipOptions } from "./options.js";
import { outputOf, parametersOf, tiny } from "./testing.js";

const BATCH = 3;
const ssl = { useVisualSsl: true, visualSslProjectionHiddenSize: 5 } satisfies ClipOptions;

/** Values for all that a model with these options may ask for. */
function valuesOf(clip: CLIP): Record<string, Value> {
  const image = (key: string) => floats([BATCH, 3, 8, 8], -1, 1, key);
  const texts = [
    [4, 5, 3, 0, 0, 0, 6, 3, 0, 0, 0, 0, 7, 8, 9, 2, 3, 0],
    [5, 3, 0, 0, 0, 0, 6, 11, 3, 0, 0, 0, 9, 8, 7, 2, 1, 3],
    [12, 4, 5, 3, 0, 0, 3, 0, 0, 0, 0, 0, 7, 9, 2, 3, 0, 0],
    [4, 20, 3, 0, 0, 0, 20, 3, 0, 0, 0, 0, 7, 8, 20, 2, 3, 0],
    [0, 5, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0],
  ].map((ids) => numbers(ids, [BATCH, 6], "int32"));
  const kept = [1, 2, 3, 0, 2, 3, 0, 3, 1, 0, 2, 1, 3, 1, 1, 2, 0, 2];
  const patches = (from: number) => numbers(kept.slice(from, from + 6), [BATCH, 2], "int32");
  return {
    ...parametersOf(clip),
    text: texts[0]!,
    "augText.0": texts[1]!,
    "augText.1": texts[2]!,
    "mlm.sequence": texts[3]!,
    "mlm.labels": texts[4]!,
    image: image("image"),
    "augImage.0": image("more"),
    "ssl.views.0": image("first"),
    "ssl.views.1": image("second"),
    ...Object.fromEntries([0, 1, 2, 3].map((i) => [`ssl.patchIndices.${i}`, patches(3 * i)])),
  };
}

describe("more views", () => {
  for (const options of [
    {},
    { useAllTokenEmbeds: true },
    { textCausalMask: true, textEosId: 3, extraLatentProjection: true },
    { decoupledContrastiveLearning: true, visualPatchDropout: 0 },
    { sigmoidLoss: true, multiviewLossWeight: 0.25 },
    { hopfieldRetrieval: true },
    { simRegLossWeight: 0.5 },
  ] as ClipOptions[]) {
    test(`are compared pair by pair, the first apart: ${JSON.stringify(options)}`, () => {
      const clip = new CLIP({ ...tiny, ...options });
      const inputs = clip.inputs(BATCH, { training: true, augTexts: 2, augImages: 1 });
      const { text, image, augText, augImage, patchIndices } = inputs;
      const kept = [
        [0, 1, 2, 3, 1, 3],
        [3, 0, 2, 1, 0, 2],
      ].map((list) => numbers(list, [BATCH, 2], "int32"));
      const all = numbers(
        kept.flatMap(({ data }) => [...data]),
        [2 * BATCH, 2],
        "int32",
      );
      assert.deepEqual(patchIndices?.shape, clip.keptPatches < 4 ? [2 * BATCH, 2] : undefined);
      const values: Record<string, Value> = { ...valuesOf(clip), patchIndices: all };
      const losses = clip.losses(inputs);

      // Each pair of views by itself, as a batch of its own.
      const single = (t: number, i: number): readonly number[] => {
        const pair: ClipInputs = {
          text: [text, ...augText!][t]!,
          image: [image, ...augImage!][i]!,
          ...(patchIndices && { patchIndices: input("kept", [BATCH, 2], "int32") }),
        };
        const { contrastive, similarityRegularisation = contrastive } = clip.losses(pair).terms;
        const g = graph({ contrastive, similarityRegularisation });
        const results = evaluate(g, { ...values, kept: kept[i]! });
        return [results.contrastive!.data[0]!, results.similarityRegularisation!.data[0]!];
      };
      const pairs = [0, 1, 2].flatMap((t) => [0, 1].map((i) => single(t, i)));
      const others = pairs.slice(1).reduce((sum, [x]) => sum + x!, 0) / 5;
      const regularisation = pairs.reduce((sum, [, x]) => sum + x!, 0) / 6;
      const { contrastive, multiview, similarityRegularisation, ...rest } = losses.terms;
      assert.deepEqual(rest, {});
      assertClose(outputOf(contrastive, values), [pairs[0]![0]!], 1e-9, "contrastive");
      assertClose(outputOf(multiview!, values), [others], 1e-9, "multiview");
      const { multiviewLossWeight: weight, simRegLossWeight } = clip.options;
      let expected = (1 - weight) * pairs[0]![0]! + weight * others;
      if (simRegLossWeight > 0) {
        assertClose(outputOf(similarityRegularisation!, values), [regularisation], 1e-9, "reg");
        expected += simRegLossWeight * regularisation;
      } else {
        assert.equal(similarityRegularisation, undefined);
      }
      assertClose(outputOf(losses.loss, values), [expected], 1e-7, "loss");
    });
  }
});

describe("the weights of all terms", () => {
  const clip = new CLIP({
    ...tiny,
    ...ssl,
    useMlm: true,
    simRegLossWeight: 0.5,
    textSslLossWeight: 0.2,
    imageSslLossWeight: 0.1,
    multiviewLossWeight: 0.4,
    visualPatchDropout: 0,
  });
  const values = valuesOf(clip);
  const found = (inputs: ClipInputs) => {
    const { loss, terms } = clip.losses(inputs);
    const results = evaluate(graph({ total: loss, ...terms }), values);
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data[0]!]));
  };

  test("are taken from the contrastive loss's, but for the regularisation's", () => {
    const inputs = clip.inputs(BATCH, { training: true, augImages: 1 });
    const { total, ...t } = found(inputs);
    assert.deepEqual(Object.keys(t).toSorted(), [
      "contrastive",
      "imageSsl",
      "multiview",
      "similarityRegularisation",
      "textSsl",
    ]);
    const expected =
      0.3 * t.contrastive! +
      0.2 * t.textSsl! +
      0.1 * t.imageSsl! +
      0.4 * t.multiview! +
      0.5 * t.similarityRegularisation!;
    assertClose([total!], [expected], 1e-7, "loss");
  });

  test("count only for terms that there are inputs for", () => {
    const { text, image, mlm } = clip.inputs(BATCH, { training: true });
    const { total, ...t } = found({ text, image });
    assert.deepEqual(Object.keys(t).toSorted(), ["contrastive", "similarityRegularisation"]);
    assertClose([total!], [t.contrastive! + 0.5 * t.similarityRegularisation!], 1e-7, "plain");
    const { total: withMlm, ...m } = found({ text, image, mlm });
    const expected = 0.8 * m.contrastive! + 0.2 * m.textSsl! + 0.5 * m.similarityRegularisation!;
    assertClose([withMlm!], [expected], 1e-7, "with masked words");
  });
});

describe("freezing an encoder", () => {
  for (const visualSslType of ["simsiam", "simclr"] as const) {
    for (const compat of [undefined, "x-clip"] as const) {
      test(`stops ${visualSslType}'s and masked words' gradients${compat ? ", but not with compat" : ""}`, () => {
        const clip = new CLIP({ ...tiny, ...ssl, visualSslType, useMlm: true, compat });
        const inputs = clip.inputs(BATCH, { training: true });
        const learnt = (options: Parameters<CLIP["loss"]>[1]) => [
          ...parameterGradients(clip.loss(inputs, options), clip.parameters).keys(),
        ];
        const all = learnt({});
        for (const prefix of ["text_transformer.", "visual_transformer.", "mlm.", "visual_ssl."]) {
          assert.ok(all.some((name) => name.startsWith(prefix)));
        }
        for (const [option, prefix] of [
          ["freezeTextEncoder", "text_transformer."],
          ["freezeImageEncoder", "visual_transformer."],
        ] as const) {
          const expected = compat ? all : all.filter((name) => !name.startsWith(prefix));
          assert.deepEqual(learnt({ [option]: true }), expected);
        }
      });
    }
  }
});

describe("self-supervision of the user's own", () => {
  test("is given what it asked for, and weighed", () => {
    const seen: unknown[] = [];
    const clip = new CLIP(
      { ...tiny, imageSslLossWeight: 0.5 },
      {
        visualSsl: (scope, width) => {
          const gain = scope.parameter("gain", [width], { kind: "constant", value: 1 });
          seen.push(width);
          return {
            passes: 1,
            loss: (encode, { views, patchIndices }) => {
              seen.push(patchIndices?.length);
              const encoded = encode(views[0], patchIndices?.[0]);
              seen.push(encoded.shape);
              return mean(reshape(mul(encoded, gain), [-1]), 0);
            },
          };
        },
      },
    );
    assert.ok(clip.parameters.has("visual_ssl.gain"));
    assert.equal(clip.sslPasses, 1);
    const { loss, terms } = clip.losses(clip.inputs(BATCH, { training: true }));
    assert.deepEqual(seen, [12, 1, [BATCH, 3, 12]]);
    const values = { ...valuesOf(clip), patchIndices: valuesOf(clip)["ssl.patchIndices.1"]! };
    const r = evaluate(graph({ loss, c: terms.contrastive, s: terms.imageSsl! }), values);
    assertClose(r.loss!.data, [0.5 * r.c!.data[0]! + 0.5 * r.s!.data[0]!], 1e-7, "loss");
  });

  test("sees the hidden layer that is asked for, of the width it was told", () => {
    for (const layer of ["to_tokens", "transformer", -2, 0, "transformer.layers.0.1"] as const) {
      const widths: unknown[] = [];
      const clip = new CLIP(
        { ...tiny, visualSslHiddenLayer: layer },
        {
          visualSsl: (_, width) => ({
            passes: 1,
            loss: (encode, { views, patchIndices }) => {
              const encoded = encode(views[1], patchIndices?.[0]);
              widths.push(width, encoded.shape.at(-1));
              return mean(reshape(encoded, [-1]), 0);
            },
          }),
        },
      );
      clip.losses(clip.inputs(BATCH, { training: true }));
      // Before the transformer's there are all four patches, then the two that are kept.
      const width = layer === "to_tokens" || layer === 0 ? 4 * 12 : 2 * 12;
      assert.deepEqual(widths, [width, width], `${layer}`);
    }
  });
});
