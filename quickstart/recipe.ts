import type { ClipOptions, ClipParts } from "../src/clip/index.js";
import type { NewRun, TrainingOptions } from "../src/train/index.js";
import { shiftEncoder } from "./shift-encoder.js";
import { MORE_VENDORS, TRAINING_VENDORS, type TrainingVendor } from "./vendors.js";

/** How the quickstart trains on the emoji. */
export interface Recipe extends NewRun {
  /** The makers whose drawings are trained on. */
  readonly vendors: readonly TrainingVendor[];
  readonly parts: ClipParts;
}

/** From so many minutes on, there is time for more makers' drawings and to look at them closer. */
const LONG_MINUTES = 20;

/** The recipe for so many minutes of two cores. */
export function recipe(minutes: number): Recipe {
  return minutes < LONG_MINUTES ? shortRecipe(minutes) : longRecipe(minutes);
}

const textOptions = {
  dimText: 256,
  dimLatent: 256,
  textEncDepth: 1,
  textSeqLen: 12,
  textHeads: 4,
} satisfies ClipOptions;

/**
 * Five minutes are a few hundred thousand pairs, and 5,000 drawings are little: what carries over to a
 * style never seen are shapes and colours seen as a whole. So pictures are small and a single patch
 * each, which leaves the time for width, and are changed a lot: turned, moved, recoloured, and mixed
 * with another maker's drawing of the same emoji.
 */
function shortRecipe(minutes: number): Recipe {
  const augment: TrainingOptions["augment"] = {
    rotate: 15,
    translate: 0.1,
    scale: [0.75, 1.25],
    colour: { brightness: 0.4, contrast: 0.5, saturation: 0.6, hue: 0.06 },
    greyscale: 0.1,
  };
  return {
    vendors: TRAINING_VENDORS,
    parts: {},
    vocabularySize: 4096,
    model: {
      clip: {
        ...textOptions,
        dimImage: 512,
        visualEncDepth: 2,
        visualImageSize: 24,
        visualPatchSize: 24,
        visualPatchDropout: 0,
      },
      preprocessing: { fit: "contain" },
    },
    training: { minutes, learningRate: 2.5e-4, blend: 0.7, augment },
  };
}

/**
 * In an hour the three makers' drawings would be known by heart long before the end. So there are more
 * makers, drawings are changed more, and the encoder is one that looks at neighbours first, which carries
 * more over to other styles.
 */
function longRecipe(minutes: number): Recipe {
  const augment: TrainingOptions["augment"] = {
    rotate: 20,
    translate: 0.1,
    scale: [0.75, 1.25],
    colour: { brightness: 0.4, contrast: 0.5, saturation: 0.7, hue: 0.06 },
    greyscale: 0.15,
  };
  return {
    vendors: [...TRAINING_VENDORS, ...MORE_VENDORS],
    parts: {
      imageEncoder: shiftEncoder([
        { merge: 4, width: 64, blocks: 1, expand: 4 },
        { merge: 2, width: 160, blocks: 3, expand: 4 },
        { merge: 2, width: 320, blocks: 2, expand: 4 },
      ]),
    },
    vocabularySize: 4096,
    model: {
      clip: { ...textOptions, dimImage: 512, visualImageSize: 32, visualPatchDropout: 0 },
      preprocessing: { fit: "contain" },
    },
    training: { minutes, learningRate: 1e-3, blend: 0.7, augment },
  };
}
