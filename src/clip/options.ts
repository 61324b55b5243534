import { z } from "zod";
import { mlmOptions } from "./mlm-options.js";

const size = z.int().positive();
const weight = z.number().nonnegative();

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
  /**
   * Whether the text encoder's first token stands for the whole text. Token by token
   * (`useAllTokenEmbeds`) such a token is left out.
   */
  textHasClsToken: z.boolean().default(true),
  /** The token that fills up short texts; it is masked out. */
  textPadId: z.int().nonnegative().default(0),
  /** Rotary position embeddings in place of learnt ones (Su et al., 2021). */
  textRotaryPosEmb: z.boolean().default(false),
  /** Let a token see only those before it (GPT); the text's end token then stands for it, as in CLIP. */
  textCausalMask: z.boolean().default(false),
  /** The token that ends a text; `textCausalMask` needs it. */
  textEosId: z.int().nonnegative().optional(),
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
  /**
   * Whether the image encoder's first token stands for the whole picture. Token by token
   * (`useAllTokenEmbeds`) such a token is left out.
   */
  visualHasClsToken: z.boolean().default(true),
  channels: size.default(3),
  /** Compute layers again for the backward pass: less memory, more time (Chen et al., 2016). */
  checkpointDuringTraining: z.boolean().default(false),
  /** Compare texts and pictures token by token (FILIP, Yao et al., 2021). */
  useAllTokenEmbeds: z.boolean().default(false),
  /** Halve height and width of the grid of image tokens before they are compared one by one. */
  downsampleImageEmbeds: z.boolean().default(false),
  /** Leave matching pairs out of the denominators (DCL, Yeh et al., 2021). */
  decoupledContrastiveLearning: z.boolean().default(false),
  /** Projections of their own for the direction from image to text (CLOOB, Fürst et al., 2021). */
  extraLatentProjection: z.boolean().default(false),
  /**
   * Compare what latents retrieve from the batch's others, leaving matching pairs out of the denominators
   * (InfoLOOB with Hopfield retrieval; CLOOB, Fürst et al., 2021). Not in x-clip.
   */
  hopfieldRetrieval: z.boolean().default(false),
  /** Inverse temperature of that retrieval. */
  hopfieldSharpness: z.number().positive().default(8),
  /** Judge each pair by itself instead of choosing among all (SigLIP, Zhai et al., 2023). Not in x-clip. */
  sigmoidLoss: z.boolean().default(false),
  ...mlmOptions,
  /** Self-supervision of the image encoder by two views of each picture (SLIP, Mu et al., 2021). */
  useVisualSsl: z.boolean().default(false),
  /** SimSiam (Chen and He, 2020) or SimCLR (Chen et al., 2020). */
  visualSslType: z.enum(["simsiam", "simclr"]).default("simsiam"),
  /**
   * What of the image encoder it sees: a part by its place, counted from the end if negative, or by its
   * name; -1 is the output.
   */
  visualSslHiddenLayer: z.union([z.int(), z.string()]).default(-1),
  /** Width of its projections; 256 for SimSiam and 128 for SimCLR by default. */
  visualSslProjectionSize: size.optional(),
  /** Width of the hidden layers of its heads. */
  visualSslProjectionHiddenSize: size.default(4096),
  /** What SimCLR divides similarities by. */
  simclrTemperature: z.number().positive().default(0.1),
  /** Weight of visual self-supervision in the loss. */
  imageSslLossWeight: weight.default(0.05),
  /** Weight of the pairs of views beyond the first, where there are augmented ones (DeCLIP, Li et al., 2021). */
  multiviewLossWeight: weight.default(0.1),
  /** Weight of the similarity regularisation (Yang et al., 2023); it is added to the loss. */
  simRegLossWeight: weight.default(0),
  /**
   * `"x-clip"`: the original's numbers also where they are not what its papers say. What differs is listed
   * in PARITY.md.
   */
  compat: z.enum(["x-clip"]).optional(),
});

/** What a caller may give: everything has a default. */
export type ClipOptions = z.input<typeof clipOptionsSchema>;

/** All options with their values. */
export type ResolvedClipOptions = z.output<typeof clipOptionsSchema>;
