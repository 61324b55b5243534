import { type MlmOptions, maskedCount, mlmTokenIds } from "../clip/index.js";
import type { Random } from "../util/random.js";
import { chooseAsXClip } from "./x-clip-mask.js";

/** What is drawn to mask a batch: lists of a number for each token. */
export interface MaskDraws {
  /** The positions of a row with the highest ranks are asked for. */
  readonly ranks: ArrayLike<number>;
  /** Uniform in [0, 1): the mask token is shown where it is below `mlmReplaceProb`. */
  readonly replace: ArrayLike<number>;
  /** Needed if `mlmRandomTokenProb` is above 0. */
  readonly random?: {
    /** Uniform in [0, 1): the random token is shown where it is below `mlmRandomTokenProb`. */
    readonly replace: ArrayLike<number>;
    /** Tokens of the whole vocabulary. One that is never asked for replaces nothing. */
    readonly tokens: ArrayLike<number>;
  };
}

/** Texts with tokens to be guessed, each int32 [B, T]. */
export interface MaskedTokens {
  /** What the encoder is shown. Its mask must remain that of the unmasked text. */
  readonly sequence: Int32Array;
  /** The true tokens where they are asked for, elsewhere the pad token. */
  readonly labels: Int32Array;
}

/** The draws for `count` tokens. */
export function drawMask(count: number, options: MlmOptions, random: Random): MaskDraws {
  const uniform = () => Float64Array.from({ length: count }, () => random.uniform());
  const draws = { ranks: uniform(), replace: uniform() };
  if (options.mlmRandomTokenProb === 0) return draws;
  const tokens = Int32Array.from({ length: count }, () => random.integer(options.numTextTokens));
  return { ...draws, random: { replace: uniform(), tokens } };
}

/**
 * Chooses the tokens of each text that a model has to guess, and hides them (Devlin et al., 2018): of a
 * text's tokens other than padding, the mask token and `mlmMaskIgnoreTokenIds`, the part `mlmMaskProb`,
 * rounded up. Of these, the part `mlmRandomTokenProb` becomes random tokens; of the others, the part
 * `mlmReplaceProb` becomes the mask token, and what then is left stays. No other token changes.
 *
 * @param tokens int32 [B, T]; it is not changed.
 * @param length T
 * @param compat "x-clip": do as it does. Random tokens go anywhere, padding included; the mask token
 *   is 2 and the pad token 0 unless given; and what {@link chooseAsXClip} says.
 * @throws ClipsmithError if the mask token has no embedding.
 */
export function maskTokens(
  tokens: Int32Array,
  length: number,
  options: MlmOptions,
  draws: MaskDraws,
  compat?: "x-clip",
): MaskedTokens {
  const { mlmMaskProb, mlmReplaceProb, mlmRandomTokenProb } = options;
  const { mask, pad } = mlmTokenIds(options, compat);
  const special = new Set([pad, ...options.mlmMaskIgnoreTokenIds]);
  if (!compat) special.add(mask).add(options.textPadId);
  const maskable = Uint8Array.from(tokens, (token) => Number(!special.has(token)));
  const choose = compat ? chooseAsXClip : choosePositions;
  const chosen = choose(maskable, draws.ranks, length, mlmMaskProb);

  if (mlmRandomTokenProb > 0 && !draws.random) {
    throw new Error(
      `random tokens must be drawn for an mlmRandomTokenProb of ${mlmRandomTokenProb}`,
    );
  }
  const { random } = draws;
  // Draws of float32 are compared with a probability of float32, as x-clip does.
  const randomProb = Math.fround(mlmRandomTokenProb);
  const replaceProb = Math.fround(mlmReplaceProb);
  const sequence = tokens.slice();
  const labels = new Int32Array(tokens.length).fill(pad);
  for (const [i, token] of tokens.entries()) {
    const asked = chosen[i] === 1;
    if (asked) labels[i] = token;
    if (!asked && !compat) continue;
    if (random && random.replace[i]! < randomProb && !special.has(random.tokens[i]!)) {
      sequence[i] = random.tokens[i]!;
    } else if (asked && draws.replace[i]! < replaceProb) {
      sequence[i] = mask;
    }
  }
  return { sequence, labels };
}

/** Of each row's maskable positions, the part `probability`, rounded up, that has the highest ranks. */
export function choosePositions(
  maskable: Uint8Array,
  ranks: ArrayLike<number>,
  length: number,
  probability: number,
): Uint8Array {
  const chosen = new Uint8Array(maskable.length);
  for (let start = 0; start < maskable.length; start += length) {
    const candidates = Array.from({ length }, (_, i) => start + i).filter((at) => maskable[at]);
    candidates.sort((a, b) => ranks[b]! - ranks[a]!);
    const count = maskedCount(candidates.length, probability);
    for (const at of candidates.slice(0, count)) chosen[at] = 1;
  }
  return chosen;
}
