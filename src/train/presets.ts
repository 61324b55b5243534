import type { ClipOptions } from "../clip/index.js";
import type { TrainingOptions } from "./options.js";

/** A model's shape to start from with the training that goes with it, and what to expect of it. */
export interface Preset {
  /** With the number of parameters, for a vocabulary of 8192 and texts of up to 77 tokens. */
  readonly description: string;
  readonly clip: ClipOptions;
  readonly training: TrainingOptions;
}

/**
 * Presets by name, the smallest first. The learning rate, AdamW's moments and the weight decay are those of
 * CLIP's ViT-B/32 (Radford et al., 2021, tables 18 and 20) for all; batches are what 16 GB of memory hold,
 * and not CLIP's 32,768. A larger model on more data warms up for longer: CLIP's took 2,000 steps.
 */
export const presets = {
  laptop: {
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
    training: { batchSize: 256, learningRate: 5e-4, warmupSteps: 50, weightDecay: 0.2 },
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
    training: { batchSize: 256, learningRate: 5e-4, warmupSteps: 200, weightDecay: 0.2 },
  },
  base: {
    description: "58 M parameters, pictures of 256 px: x-clip's defaults",
    clip: {},
    training: { batchSize: 128, learningRate: 5e-4, warmupSteps: 1000, weightDecay: 0.2 },
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
    training: { batchSize: 64, learningRate: 5e-4, warmupSteps: 2000, weightDecay: 0.2 },
  },
} as const satisfies Readonly<Record<string, Preset>>;

export type PresetName = keyof typeof presets;

/** The preset that a run starts from where none is named. */
export const DEFAULT_PRESET: PresetName = "laptop";
