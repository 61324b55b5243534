import { z } from "zod";
import { clipOptionsSchema } from "../clip/index.js";
import type { EncodeOptions } from "../data/index.js";

/** Mean and deviation of OpenAI's CLIP, by channel, of pixels in 0 to 1. */
const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD = [0.26862954, 0.26130258, 0.27577711];

const colour = z.tuple([z.int().min(0).max(255), z.int().min(0).max(255), z.int().min(0).max(255)]);

/** How a picture's file becomes the pixels that the model sees. */
export const preprocessingSchema = z.strictObject({
  /** `"cover"` crops the longer side, as CLIP does; `"contain"` keeps all and fills up. */
  fit: z.enum(["cover", "contain"]).default("cover"),
  /** What shows through transparent pixels and fills up, as red, green, blue; default white. */
  background: colour.default([255, 255, 255]),
  /** By channel, of pixels in 0 to 1; default CLIP's. */
  mean: z.array(z.number()).default(CLIP_MEAN),
  std: z.array(z.number().positive()).default(CLIP_STD),
});

/** What can be chosen of a model. */
export const modelSettingsSchema = z.strictObject({
  clip: clipOptionsSchema,
  preprocessing: preprocessingSchema.prefault({}),
});

/** `config.json` of a model's folder. */
export const modelConfigSchema = z
  .strictObject({
    /** Version of this file's format. */
    format: z.literal(1).default(1),
    ...modelSettingsSchema.shape,
  })
  .refine(({ clip }) => clip.channels === 1 || clip.channels === 3, {
    path: ["clip", "channels"],
    message: "pictures have 3 channels, or 1 if they are grey",
  })
  .refine(
    ({ clip: { channels }, preprocessing: { mean, std } }) =>
      mean.length === channels && std.length === channels,
    { path: ["preprocessing"], message: "mean and std need one number for each channel" },
  );

/** Which special tokens a model's texts have: a causal encoder needs the one that ends them. */
export function textEncoding({ clip }: ModelConfig): EncodeOptions {
  return { addEos: clip.textCausalMask };
}

/** What a caller may give: everything has a default. */
export type ModelConfigInput = z.input<typeof modelConfigSchema>;

/** Everything about a model but its weights and its tokenizer. */
export type ModelConfig = z.output<typeof modelConfigSchema>;
