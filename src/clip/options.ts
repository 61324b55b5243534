import { z } from "zod";

const size = z.int().positive();

/** Options of {@link CLIP}: x-clip's, in camelCase, with its defaults. */
export const clipOptionsSchema = z.strictObject({
  /** Width of the text encoder. */
  dimText: size.default(512),
  /** Width of the image encoder. */
  dimImage: size.default(512),
  /** Width L of the space that texts and images share. */
  dimLatent: size.default(512),
  /** Size of the vocabulary. */
  numTextTokens: size.default(10000),
  textEncDepth: size.default(6),
  /** Longest text T, in tokens. */
  textSeqLen: size.default(256),
  textHeads: size.default(8),
  textDimHead: size.default(64),
  /** The token that fills up short texts; it is masked out. */
  textPadId: z.int().nonnegative().default(0),
  /** Rotary position embeddings in place of learnt ones (Su et al., 2021). */
  textRotaryPosEmb: z.boolean().default(false),
  /** Let the text encoder see padding too. */
  textEncodeWithoutMask: z.boolean().default(false),
  visualEncDepth: size.default(6),
  visualHeads: size.default(8),
  visualDimHead: size.default(64),
  /** Height and width of a picture, in pixels. */
  visualImageSize: size.default(256),
  /** Height and width of a patch, in pixels. */
  visualPatchSize: size.default(32),
  /** Part of the patches left out in training (FLIP, Li et al., 2022). */
  visualPatchDropout: z.number().min(0).lt(1).default(0.5),
  channels: size.default(3),
  /** Leave matching pairs out of the denominators (Yeh et al., 2021). */
  decoupledContrastiveLearning: z.boolean().default(false),
});

/** What a caller may give: everything has a default. */
export type ClipOptions = z.input<typeof clipOptionsSchema>;

/** All options with their values. */
export type ResolvedClipOptions = z.output<typeof clipOptionsSchema>;
