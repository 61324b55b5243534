import type { ClipOptions } from "./options.js";

/** A model's shape to start from, and what to expect of it. */
export interface Preset {
  /** With the number of parameters, for a vocabulary of 8192 and texts of up to 77 tokens. */
  readonly description: string;
  readonly clip: ClipOptions;
}

/** Shapes of models by name, the smallest first. */
export const presets = {
  tiny: {
    description: "2.5 M parameters, pictures of 64 px: learns a small collection in minutes",
    clip: {
      dimText: 128,
      dimImage: 128,
      dimLatent: 128,
      textEncDepth: 2,
      textHeads: 2,
      visualEncDepth: 3,
      visualHeads: 2,
      visualImageSize: 64,
      visualPatchSize: 8,
      visualPatchDropout: 0.5,
    },
  },
  small: {
    description: "13 M parameters, pictures of 112 px: some hours, or a larger machine",
    clip: {
      dimText: 256,
      dimImage: 256,
      dimLatent: 256,
      textEncDepth: 4,
      textHeads: 4,
      visualEncDepth: 6,
      visualHeads: 4,
      visualImageSize: 112,
      visualPatchSize: 16,
    },
  },
  base: {
    description: "58 M parameters, pictures of 256 px: x-clip's defaults",
    clip: {},
  },
  "vit-b-32": {
    description: "170 M parameters, pictures of 224 px: the sizes of CLIP's ViT-B/32",
    clip: {
      dimText: 512,
      dimImage: 768,
      dimLatent: 512,
      textEncDepth: 12,
      textHeads: 8,
      visualEncDepth: 12,
      visualHeads: 12,
      visualImageSize: 224,
      visualPatchSize: 32,
      visualPatchDropout: 0,
    },
  },
} as const satisfies Readonly<Record<string, Preset>>;

export type PresetName = keyof typeof presets;
