import { z } from "zod";
import { ClipsmithError } from "../util/errors.js";

const probability = z.number().min(0).max(1);
const tokenId = z.int().nonnegative();

/** Options of masked language modelling on the texts (Devlin et al., 2018; in CLIP: DeCLIP, Li et al., 2021). */
export const mlmOptions = {
  /** Also learn to guess masked tokens of the texts. */
  useMlm: z.boolean().default(false),
  /** Weight of that loss in the whole. */
  textSslLossWeight: z.number().nonnegative().default(0.05),
  /** Part of a text's tokens that are asked for, rounded up to whole tokens. */
  mlmMaskProb: probability.gt(0).default(0.15),
  /** Part of these, but for random ones, that the mask token hides; the others show themselves. */
  mlmReplaceProb: probability.default(0.9),
  /** Part of the tokens asked for that show a random token in their place; BERT's is 0.1. */
  mlmRandomTokenProb: probability.default(0),
  /** The mask token; default: `numTextTokens`, the row of the embeddings beyond the vocabulary. */
  mlmMaskTokenId: tokenId.optional(),
  /** The token that fills up short texts; default: `textPadId`. */
  mlmPadTokenId: tokenId.optional(),
  /** Tokens beside padding that are never asked for, nor drawn at random. */
  mlmMaskIgnoreTokenIds: z.array(tokenId).default([]),
};

/** Options of masked language modelling with their values, and the vocabulary's. */
export interface MlmOptions extends z.output<z.ZodObject<typeof mlmOptions>> {
  readonly numTextTokens: number;
  readonly textPadId: number;
}

/**
 * The mask token, and the pad token, which also labels positions that are not asked for.
 *
 * @param compat "x-clip": default to its mask token 2 and pad token 0, whatever the vocabulary.
 * @throws ClipsmithError if the mask token has no embedding.
 */
export function mlmTokenIds(
  options: Pick<MlmOptions, "numTextTokens" | "textPadId" | "mlmMaskTokenId" | "mlmPadTokenId">,
  compat?: "x-clip",
): { readonly mask: number; readonly pad: number } {
  const { numTextTokens, textPadId } = options;
  const mask = options.mlmMaskTokenId ?? (compat ? 2 : numTextTokens);
  if (mask > numTextTokens) {
    throw new ClipsmithError(
      `mlmMaskTokenId (${mask}) must be at most numTextTokens (${numTextTokens}), ` +
        "which is the one token beyond the vocabulary",
    );
  }
  return { mask, pad: options.mlmPadTokenId ?? (compat ? 0 : textPadId) };
}

/** How many of `count` positions are asked for: the part `probability`, rounded up. */
export function maskedCount(count: number, probability: number): number {
  return Math.ceil(probability * count);
}
