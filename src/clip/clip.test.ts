import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Data, grad, graph, input, type Shape } from "../graph/index.js";
import { assertClose, floats, numbers } from "../graph/testing.js";
import { initialize, Scope } from "../nn/index.js";
import { Program } from "../runtime/index.js";
import { CLIP } from "./clip.js";
import type { ClipOptions } from "./options.js";
import { outputOf, parametersOf, textOf, tiny } from "./testing.js";
import { TextTransformer } from "./text-transformer.js";
import { keptPatches } from "./vision-transformer.js";

describe("options", () => {
  test("an unknown one is refused, and the nearest suggested", () => {
    assert.throws(() => new CLIP({ dimTxt: 8 } as ClipOptions), {
      name: "ClipsmithError",
      message: 'CLIP: there is no option "dimTxt"; did you mean "dimText"?',
    });
    assert.throws(
      () => new CLIP({ text_enc_depth: 8 } as ClipOptions),
      /did you mean "textEncDepth"/,
    );
  });

  for (const [options, message] of [
    [{ dimText: 0 }, /dimText: /],
    [{ textHeads: 1.5 }, /textHeads: /],
    [{ visualPatchDropout: 1 }, /visualPatchDropout: /],
    [
      { visualImageSize: 100, visualPatchSize: 32 },
      /visualImageSize \(100\) must be a multiple of visualPatchSize \(32\)/,
    ],
    [{ visualImageSize: 16, visualPatchSize: 32 }, /must be a multiple/],
    [{ textRotaryPosEmb: true, textDimHead: 5 }, /textDimHead \(5\) must be even/],
  ] as const) {
    test(`${JSON.stringify(options)} is refused`, () => {
      assert.throws(() => new CLIP({ ...tiny, ...options }), { name: "ClipsmithError", message });
    });
  }

  test("a head with more features than are turned may be odd", () => {
    new CLIP({ ...tiny, textRotaryPosEmb: true, textDimHead: 33 });
    new CLIP({ ...tiny, textDimHead: 5 });
  });
});

describe("patch dropout", () => {
  const clip = new CLIP(tiny);
  const values = { ...parametersOf(clip), image: floats([2, 3, 8, 8]) };
  const { image } = clip.inputs(2);

  test("keeping all patches in order is keeping all", () => {
    const kept = numbers([0, 1, 2, 3, 0, 1, 2, 3], [2, 4], "int32");
    const dropped = clip.encodeImage(image, input("kept", [2, 4], "int32"));
    const full = outputOf(clip.encodeImage(image), values);
    assertClose(outputOf(dropped, { ...values, kept }), full, 1e-12, "all kept");
  });

  test("dropping before the embedding is dropping after it", () => {
    // What a dropped patch shows must not matter; which patches are kept must.
    const kept = numbers([3, 1, 0, 2], [2, 2], "int32");
    const encoded = clip.encodeImage(image, input("kept", [2, 2], "int32"));
    const before = outputOf(encoded, { ...values, kept });
    const changed = values.image.data.slice();
    for (let i = 0; i < changed.length; i++) {
      const [row, y, x] = [Math.floor(i / 192), Math.floor(i / 8) % 8, i % 8];
      const patch = Math.floor(y / 4) * 2 + Math.floor(x / 4);
      const isKept = row === 0 ? patch === 3 || patch === 1 : patch === 0 || patch === 2;
      if (!isKept) changed[i] = 99;
    }
    const other = { ...values, kept, image: { ...values.image, data: changed } };
    assert.deepEqual(outputOf(encoded, other), before);

    // Tokens follow the drawn order, the pooled one does not.
    const turned = numbers([1, 3, 2, 0], [2, 2], "int32");
    const after = outputOf(encoded, { ...values, kept: turned });
    const token = (data: Float64Array, row: number, place: number) =>
      data.subarray((row * 3 + place) * 12, (row * 3 + place + 1) * 12);
    for (const row of [0, 1]) {
      assertClose(token(after, row, 0), token(before, row, 0), 1e-9, "pooled");
      assertClose(token(after, row, 1), token(before, row, 2), 1e-9, "first");
      assertClose(token(after, row, 2), token(before, row, 1), 1e-9, "second");
    }
  });

  test("at least one patch is kept, and a single patch needs no drawing", () => {
    assert.deepEqual(
      [
        [64, 0.5],
        [5, 0.5],
        [4, 0.99],
        [1, 0.5],
        [16, 0],
      ].map(([n, p]) => keptPatches(n!, p!)),
      [32, 2, 1, 1, 16],
    );
    const single = new CLIP({ ...tiny, visualPatchSize: 8 });
    assert.equal(single.inputs(2, { training: true }).patchIndices, undefined);
    assert.deepEqual(clip.inputs(2, { training: true }).patchIndices?.shape, [2, 2]);
    assert.equal(clip.inputs(2).patchIndices, undefined);
  });
});

describe("text", () => {
  test("padding is not seen, unless textEncodeWithoutMask", () => {
    for (const textEncodeWithoutMask of [false, true]) {
      const clip = new CLIP({ ...tiny, textPadId: 3, textEncodeWithoutMask });
      const { text } = clip.inputs(1);
      const parameters = parametersOf(clip);
      const cls = () =>
        outputOf(clip.encodeText(text), {
          ...parameters,
          text: numbers([5, 7, 3, 3, 3, 3], [1, 6], "int32"),
        }).subarray(0, 8);
      const before = cls().slice();
      const table = parameters["text_transformer.token_emb.weight"]!;
      table.data.fill(9, 3 * 8, 4 * 8);
      if (textEncodeWithoutMask) assert.notDeepEqual(cls(), before);
      else assert.deepEqual(cls(), before);
    }
  });

  test("a text of padding alone has a finite latent", () => {
    const clip = new CLIP(tiny);
    const { text } = clip.inputs(1);
    const latents = clip.textLatents(clip.encodeText(text));
    const blank = numbers([0, 0, 0, 0, 0, 0], [1, 6], "int32");
    const values = { ...parametersOf(clip), text: blank };
    const data = outputOf(latents, values);
    assertClose([data.reduce((sum, x) => sum + x * x, 0)], [1], 1e-9, "length");
  });

  test("a shorter text than the longest is padding's equal", () => {
    for (const textRotaryPosEmb of [false, true]) {
      const clip = new CLIP({ ...tiny, textRotaryPosEmb });
      const parameters = parametersOf(clip);
      const latentsOf = (tokens: number[]) => {
        const { text } = clip.inputs(1, { textLength: tokens.length });
        const latents = clip.textLatents(clip.encodeText(text));
        return outputOf(latents, {
          ...parameters,
          text: numbers(tokens, [1, tokens.length], "int32"),
        });
      };
      assertClose(latentsOf([4, 9, 2, 0, 0, 0]), latentsOf([4, 9, 2]), 1e-9, "shorter");
      // Order counts: positions are embedded either way.
      assert.notDeepEqual(latentsOf([9, 4, 2]), latentsOf([4, 9, 2]));
    }
  });

  test("the CLS token alone gives the latents of all tokens", () => {
    for (const options of [{}, { textRotaryPosEmb: true }, { textEncDepth: 2 }]) {
      const clip = new CLIP({ ...tiny, ...options });
      const { text } = clip.inputs(3);
      const values = { ...parametersOf(clip), text: textOf(3) };
      const latents = (wanted?: number) =>
        outputOf(clip.textLatents(clip.encodeText(text, wanted)), values);
      assertClose(latents(1), latents(), 1e-9, JSON.stringify(options));
    }
  });

  test("a causal text transformer does not look ahead", () => {
    for (const rotaryPosEmb of [false, true]) {
      const scope = new Scope();
      const transformer = new TextTransformer(scope, {
        width: 8,
        numTokens: 20,
        maxSeqLen: 5,
        depth: 2,
        heads: 2,
        dimHead: 4,
        causal: true,
        rotaryPosEmb,
      });
      const y = transformer.call(input("text", [1, 5], "int32"));
      assert.deepEqual(y.shape, [1, 5, 8]);
      const parameters = Object.fromEntries(
        [...scope.parameters].map(([name, { shape }]) => [name, floats(shape, -1, 1, name)]),
      );
      const read = (tokens: number[]) =>
        outputOf(y, { ...parameters, text: numbers(tokens, [1, 5], "int32") });
      const [before, after] = [read([1, 2, 3, 4, 5]), read([1, 2, 3, 9, 5])];
      assert.deepEqual(after.subarray(0, 3 * 8), before.subarray(0, 3 * 8));
      for (const token of [3, 4]) {
        const row = [token * 8, token * 8 + 8] as const;
        assert.notDeepEqual(after.subarray(...row), before.subarray(...row));
      }
    }
  });
});

describe("shapes that do not fit are told", () => {
  const clip = new CLIP(tiny);
  const loss = (text: Shape, image: Shape) => () =>
    clip.loss({ text: input("text", text, "int32"), image: input("image", image) });
  for (const [what, call, message] of [
    [
      "a long text",
      loss([2, 7], [2, 3, 8, 8]),
      /text must be \[B, T\] with T at most 6, is \[2, 7\]/,
    ],
    ["a flat text", loss([2], [2, 3, 8, 8]), /text must be \[B, T\]/],
    [
      "a large picture",
      loss([2, 6], [2, 3, 16, 16]),
      /pictures must be \[B, C, H, W\] = \[B, 3, 8, 8\], are \[2, 3, 16, 16\]/,
    ],
    ["a small picture", loss([2, 6], [2, 3, 4, 4]), /\[B, 3, 8, 8\], are \[2, 3, 4, 4\]/],
    ["a grey picture", loss([2, 6], [2, 1, 8, 8]), /\[B, 3, 8, 8\], are \[2, 1, 8, 8\]/],
    ["channels last", loss([2, 6], [2, 8, 8, 3]), /pictures must be \[B, C, H, W\]/],
    ["other numbers of texts and pictures", loss([2, 6], [3, 3, 8, 8]), /as many texts as images/],
    [
      "patches of another batch",
      () => clip.encodeImage(input("image", [2, 3, 8, 8]), input("kept", [3, 2], "int32")),
      /patch dropout needs a fixed batch.*\[3, 2\]/,
    ],
  ] as const) {
    test(what, () => assert.throws(call, { message }));
  }
});

describe("the loss", () => {
  const clip = new CLIP(tiny);
  const inputs = clip.inputs(3, { training: true });
  const gradientNames = (options: Parameters<CLIP["loss"]>[1]) => {
    const names = [...clip.parameters.keys()];
    const tensors = [...clip.parameters.values()].map(({ tensor }) => tensor);
    const gradients = grad(clip.loss(inputs, options), tensors);
    return names.filter((_, i) => gradients[i] !== undefined);
  };
  const all = [...clip.parameters.keys()].filter((name) => !name.endsWith("_extra.weight"));

  test("depends on every parameter but the projections it does not use", () => {
    assert.deepEqual(gradientNames({}), all);
  });

  test("freezing an encoder stops its gradients, and not its projection's", () => {
    const without = (prefix: string) => all.filter((name) => !name.startsWith(prefix));
    assert.deepEqual(gradientNames({ freezeImageEncoder: true }), without("visual_transformer."));
    assert.deepEqual(gradientNames({ freezeTextEncoder: true }), without("text_transformer."));
    assert.deepEqual(gradientNames({ freezeImageEncoder: true, freezeTextEncoder: true }), [
      "temperature",
      "to_text_latent.weight",
      "to_visual_latent.weight",
    ]);
  });

  test("is as high as a frozen encoder's", () => {
    const values = {
      ...parametersOf(clip),
      text: textOf(3),
      image: floats([3, 3, 8, 8]),
      patchIndices: numbers([0, 1, 2, 3, 1, 3], [3, 2], "int32"),
    };
    const frozen = outputOf(clip.loss(inputs, { freezeImageEncoder: true }), values);
    assert.deepEqual(frozen, outputOf(clip.loss(inputs), values));
  });

  test("similarities are cosines times the logit scale", () => {
    const { text, image } = clip.inputs(3);
    const texts = clip.textLatents(clip.encodeText(text));
    const images = clip.imageLatents(clip.encodeImage(image));
    const parameters = { ...parametersOf(clip), temperature: numbers([Math.log(7)], []) };
    const values = { ...parameters, text: textOf(3), image: floats([3, 3, 8, 8]) };
    const matrix = outputOf(clip.similarityMatrix(texts, images), values);
    const own = outputOf(clip.similarities(texts, images), values);
    const [t, i] = [outputOf(texts, values), outputOf(images, values)];
    const expected = Array.from({ length: 9 }, (_, n) =>
      [0, 1, 2, 3].reduce(
        (sum, k) => sum + 7 * t[Math.floor(n / 3) * 4 + k]! * i[(n % 3) * 4 + k]!,
        0,
      ),
    );
    assertClose(matrix, expected, 1e-9, "matrix");
    assertClose(
      own,
      [0, 4, 8].map((n) => expected[n]!),
      1e-9,
      "own",
    );
  });
});

test("graphs of any batch give what those of one batch give", async () => {
  const causal = { textCausalMask: true, textEosId: 3 };
  const tokenwise = { useAllTokenEmbeds: true };
  for (const options of [
    {},
    { textRotaryPosEmb: true },
    { textEncodeWithoutMask: true },
    causal,
    { ...causal, textRotaryPosEmb: true },
    tokenwise,
    { ...tokenwise, ...causal },
    { ...tokenwise, textHasClsToken: false, visualHasClsToken: false },
    { ...tokenwise, downsampleImageEmbeds: true },
  ]) {
    const clip = new CLIP({ ...tiny, ...options });
    const weights = Object.fromEntries(initialize(clip.parameters, 3));
    const build = (batch: number | "batch") => {
      const { text, image } = clip.inputs(batch);
      return graph({
        texts: clip.textLatents(clip.encodeText(text)),
        images: clip.imageLatents(clip.encodeImage(image)),
        "one vector a text": clip.embedText(text),
        "one vector a picture": clip.embedImage(image),
      });
    };
    const any = await Program.compile(build("batch"), { threads: 1 });
    for (const batch of [1, 2, 5]) {
      const feeds: Record<string, Data> = {
        ...weights,
        text: Int32Array.from(textOf(batch).data),
        image: Float32Array.from(floats([batch, 3, 8, 8]).data),
      };
      const fixed = await Program.compile(build(batch), { threads: 1 });
      const [actual, expected] = [await any.run(feeds), await fixed.run(feeds)];
      await fixed.release();
      for (const [name, values] of Object.entries(actual)) {
        assertClose(
          values as Float32Array,
          expected[name] as Float32Array,
          1e-6,
          `${name} of ${batch}`,
        );
      }
      assert.equal((actual["one vector a text"] as Float32Array).length, batch * 4);
      assert.equal((actual["one vector a picture"] as Float32Array).length, batch * 4);
    }
    await any.release();
  }
});
