import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { type MlmOptions, mlmOptions } from "../clip/index.js";
import { random } from "../util/random.js";
import { readSafetensors } from "../weights/safetensors.js";
import { choosePositions, drawMask, type MaskDraws, maskTokens } from "./mask-tokens.js";
import { chooseAsXClip } from "./x-clip-mask.js";

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

function optionsOf(options: Partial<MlmOptions> = {}): MlmOptions {
  return { ...z.object(mlmOptions).parse(options), numTextTokens: 100, textPadId: 0, ...options };
}

const MASK = 100;
const EOS = 1;

/** Texts of `lengths` tokens of 2 to 99 and an end, padded to `length`. */
function textsOf(lengths: readonly number[], length: number, padLeft = false): Int32Array {
  const stream = random("texts", ...lengths);
  return Int32Array.from(
    lengths.flatMap((words) => {
      const text = Array.from({ length: words }, (_, i) =>
        i === words - 1 ? EOS : 2 + stream.integer(98),
      );
      const padding = Array<number>(length - words).fill(0);
      return padLeft ? [...padding, ...text] : [...text, ...padding];
    }),
  );
}

/** Draws that ask for the first positions, and replace where 1 is given. */
function drawsOf(length: number, replace: readonly number[], extra?: MaskDraws["random"]) {
  return {
    ranks: replace.map((_, i) => 1 - (i % length) / length),
    replace: replace.map((yes) => 1 - yes),
    ...(extra && { random: extra }),
  };
}

describe("masking", () => {
  test("hides what is asked for, or leaves it, and labels it with the true token", () => {
    const tokens = Int32Array.of(7, 8, 9, EOS, 0, 0);
    const options = optionsOf({ mlmMaskProb: 0.5, mlmMaskIgnoreTokenIds: [EOS] });
    const both = maskTokens(tokens, 6, options, drawsOf(6, [1, 1, 1, 1, 1, 1]));
    assert.deepEqual([...both.sequence], [MASK, MASK, 9, EOS, 0, 0]);
    assert.deepEqual([...both.labels], [7, 8, 0, 0, 0, 0]);
    const second = maskTokens(tokens, 6, options, drawsOf(6, [0, 1, 1, 1, 1, 1]));
    assert.deepEqual([...second.sequence], [7, MASK, 9, EOS, 0, 0]);
    assert.deepEqual(second.labels, both.labels);
    assert.deepEqual([...tokens], [7, 8, 9, EOS, 0, 0], "the texts themselves stay");
  });

  test("random tokens stand only where something is asked for, and are never special", () => {
    const tokens = Int32Array.of(7, 8, 9, EOS, 0, 0);
    const options = optionsOf({
      mlmMaskProb: 1,
      mlmRandomTokenProb: 0.5,
      mlmMaskIgnoreTokenIds: [EOS],
    });
    const draws = drawsOf(6, [1, 1, 0, 1, 1, 1], {
      replace: [0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
      tokens: [50, EOS, 0, 51, 52, 53],
    });
    const { sequence, labels } = maskTokens(tokens, 6, options, draws);
    assert.deepEqual([...sequence], [50, MASK, 9, EOS, 0, 0]);
    assert.deepEqual([...labels], [7, 8, 9, 0, 0, 0]);
    const undrawn = drawsOf(6, [1, 1, 1, 1, 1, 1]);
    assert.throws(() => maskTokens(tokens, 6, options, undrawn), /random tokens must be drawn/);
  });

  test("padding is told by textPadId, and labels what is not asked for", () => {
    const options = optionsOf({ textPadId: 5 });
    const { sequence, labels } = maskTokens(
      Int32Array.of(7, 5, 5, 5),
      4,
      options,
      drawsOf(4, [1, 1, 1, 1]),
    );
    assert.deepEqual([...sequence], [MASK, 5, 5, 5]);
    assert.deepEqual([...labels], [7, 5, 5, 5]);
    const other = optionsOf({ textPadId: 5, mlmPadTokenId: 7, mlmMaskTokenId: 3 });
    const given = maskTokens(Int32Array.of(7, 4, 3, 3), 4, other, drawsOf(4, [1, 1, 1, 1]));
    assert.deepEqual([...given.sequence], [7, 3, 3, 3]);
    assert.deepEqual([...given.labels], [7, 4, 7, 7], "the mask token itself is not asked for");
  });

  test("what fills up texts is never asked for, whatever labels what is not", () => {
    const tokens = Int32Array.of(7, 8, 5, 0, 0, 0);
    const options = optionsOf({ mlmMaskProb: 1, mlmPadTokenId: 5 });
    const { sequence, labels } = maskTokens(tokens, 6, options, drawsOf(6, [1, 1, 1, 1, 1, 1]));
    assert.deepEqual([...sequence], [MASK, MASK, 5, 0, 0, 0]);
    assert.deepEqual([...labels], [7, 8, 5, 5, 5, 5]);
  });

  test("the part of each text's own tokens is asked for, wherever they stand", () => {
    const lengths = [16, 11, 7, 3, 2, 1, 0];
    for (const padLeft of [false, true]) {
      for (const mlmMaskProb of [0.15, 0.25, 0.5, 0.9, 1]) {
        const tokens = textsOf(lengths, 16, padLeft);
        const options = optionsOf({ mlmMaskProb, mlmReplaceProb: 1, mlmMaskIgnoreTokenIds: [EOS] });
        const draws = drawMask(tokens.length, options, random("counts", mlmMaskProb));
        const { sequence, labels } = maskTokens(tokens, 16, options, draws);
        for (const [row, words] of lengths.entries()) {
          const at = row * 16;
          const asked = labels.subarray(at, at + 16).filter((label) => label !== 0);
          assert.equal(asked.length, Math.ceil(mlmMaskProb * Math.max(0, words - 1)));
          assert.ok(!asked.includes(EOS));
        }
        for (const [i, label] of labels.entries()) {
          assert.equal(sequence[i], label === 0 ? tokens[i] : MASK);
          if (label !== 0) assert.equal(label, tokens[i]);
        }
      }
    }
  });

  test("the highest ranks are chosen", () => {
    const maskable = Uint8Array.of(0, 1, 1, 1, 1, 0, 0, 0);
    const ranks = [0.9, 0.2, 0.8, 0.1, 0.3, 0.7, 0.6, 0.5];
    const chosen = choosePositions(maskable, ranks, 4, 0.5);
    assert.deepEqual([...chosen], [0, 1, 1, 0, 1, 0, 0, 0]);
  });

  test("a mask token without an embedding is refused", () => {
    const options = optionsOf({ mlmMaskTokenId: 101 });
    const draws = drawsOf(1, [1]);
    assert.throws(() => maskTokens(Int32Array.of(1), 1, options, draws), {
      name: "ClipsmithError",
      message: /mlmMaskTokenId \(101\) must be at most numTextTokens \(100\)/,
    });
  });
});

describe("the draws", () => {
  const options = optionsOf({ mlmMaskProb: 0.25, mlmReplaceProb: 0.8, mlmRandomTokenProb: 0.1 });
  const tokens = textsOf(Array<number>(2000).fill(16), 16).map((id) => (id === EOS ? 2 : id));
  const masked = (key: string) =>
    maskTokens(tokens, 16, options, drawMask(tokens.length, options, random(key)));

  test("are those of the stream", () => {
    assert.deepEqual(masked("a"), masked("a"));
    assert.notDeepEqual(masked("a"), masked("b"));
  });

  test("choose positions evenly, and replace by the parts that are asked for", () => {
    const { sequence, labels } = masked("statistics");
    const perColumn = new Float64Array(16);
    const seen = { mask: 0, same: 0, random: 0 };
    const tokensSeen = new Set<number>();
    for (const [i, label] of labels.entries()) {
      if (label === 0) continue;
      perColumn[i % 16]!++;
      if (sequence[i] === MASK) seen.mask++;
      else if (sequence[i] === label) seen.same++;
      else {
        seen.random++;
        tokensSeen.add(sequence[i]!);
      }
    }
    const count = seen.mask + seen.same + seen.random;
    assert.equal(count, 2000 * 4);
    // Five standard deviations of a binomial each; the seed is fixed.
    const near = (actual: number, trials: number, part: number, what: string) => {
      const bound = 5 * Math.sqrt(trials * part * (1 - part));
      assert.ok(Math.abs(actual - trials * part) < bound, `${what}: ${actual} of ${trials}`);
    };
    for (const column of perColumn) near(column, 2000, 0.25, "column");
    // A random token is padding, or the true one, once in a hundred each.
    near(seen.random, count, 0.1 * 0.98, "random");
    near(seen.mask, count, 0.8 * (1 - 0.1 * 0.99), "masked");
    assert.ok(tokensSeen.size > 95 && !tokensSeen.has(0) && !tokensSeen.has(MASK));
  });

  test("without random tokens none are drawn", () => {
    assert.equal(drawMask(4, optionsOf(), random(1)).random, undefined);
  });
});

describe("as x-clip does it", () => {
  test("the mask token is 2 and padding 0 unless given", () => {
    const options = optionsOf({ textPadId: 5, mlmMaskProb: 0.5 });
    const draws = drawsOf(4, [1, 1, 1, 1]);
    const { sequence, labels } = maskTokens(Int32Array.of(7, 8, 5, 0), 4, options, draws, "x-clip");
    assert.deepEqual([...sequence], [2, 2, 5, 0]);
    assert.deepEqual([...labels], [7, 8, 0, 0]);
  });

  test("random tokens replace anything, and positions they hit keep their labels", () => {
    const options = optionsOf({ mlmMaskProb: 0.5, mlmRandomTokenProb: 0.5 });
    const draws = drawsOf(4, [1, 1, 1, 1], { replace: [0, 0, 0, 0.5], tokens: [50, 0, 51, 52] });
    const { sequence, labels } = maskTokens(Int32Array.of(7, 8, 0, 0), 4, options, draws, "x-clip");
    assert.deepEqual([...sequence], [50, 8, 51, 0]);
    assert.deepEqual([...labels], [7, 0, 0, 0]);
  });

  test("positions that follow others are counted as if they came first", () => {
    const ranks = [0.1, 0.2, 0.9, 0.8, 0.7, 0.6];
    const left = chooseAsXClip(Uint8Array.of(0, 0, 1, 1, 1, 1), ranks, 6, 0.5);
    assert.deepEqual([...left], [0, 0, 1, 1, 1, 0], "three for two");
    const right = chooseAsXClip(Uint8Array.of(1, 1, 1, 1, 0, 0), ranks, 6, 0.5);
    assert.deepEqual([...right], [0, 0, 1, 1, 0, 0]);
    const none = chooseAsXClip(new Uint8Array(6), ranks, 6, 0.5);
    assert.equal(
      none.reduce((a, b) => a + b),
      3,
    );
  });

  for (const [name, given] of Object.entries<Partial<MlmOptions>>({
    mlm: { mlmMaskProb: 0.3 },
    readme_full: {},
    mlm_random: {
      mlmMaskProb: 0.4,
      mlmReplaceProb: 0.6,
      mlmRandomTokenProb: 0.3,
      mlmMaskTokenId: 5,
      mlmMaskIgnoreTokenIds: [3, 4],
    },
  })) {
    test(`its draws give its texts and labels: ${name}`, async (t) => {
      const file = join(golden, `${name}.safetensors`);
      if (!existsSync(file)) {
        t.skip(`there is no ${file}; name its folder by CLIPSMITH_GOLDEN`);
        return;
      }
      const { tensors } = await readSafetensors(file);
      const of = (name: string) =>
        Array.from((tensors.get(`in.${name}`)?.data ?? []) as ArrayLike<number | bigint>, Number);
      const text = Int32Array.from(of("text"));
      const options = optionsOf(given);
      const { sequence, labels } = maskTokens(
        text,
        16,
        options,
        {
          ranks: of("mlm_rand"),
          replace: of("mlm_replace_uniform"),
          random: { replace: of("mlm_random_uniform"), tokens: of("mlm_random_tokens") },
        },
        "x-clip",
      );
      assert.deepEqual([...sequence], of("mlm_seq"));
      assert.deepEqual([...labels], of("mlm_labels"));
      assert.deepEqual(
        [...text].map((token, i) => (of("mlm_mask")[i] ? token : 0)),
        [...labels],
      );
    });
  }
});
