import type { NewRun, TrainingOptions } from "../src/train/index.js";
import { MORE_VENDORS, TRAINING_VENDORS, type TrainingVendor } from "./vendors.js";

/** How the quickstart trains on the emoji. */
export interface Recipe extends NewRun {
  /** The makers whose drawings are trained on. */
  readonly vendors: readonly TrainingVendor[];
}

type AugmentOptions = NonNullable<TrainingOptions["augment"]>;

/** What is drawn fills its picture, so that it need not be found: it is moved and turned a little. */
const changes: AugmentOptions = {
  rotate: 6,
  translate: 0.04,
  scale: [0.92, 1.08],
  colour: { brightness: 0.3, contrast: 0.3, saturation: 0.4, hue: 0.04 },
  greyscale: 0.08,
};

const moreChanges: AugmentOptions = {
  rotate: 10,
  translate: 0.06,
  scale: [0.88, 1.12],
  colour: { brightness: 0.4, contrast: 0.4, saturation: 0.5, hue: 0.05 },
  greyscale: 0.1,
};

/** From so many minutes on, there is time for more makers' drawings, and to look at them closer. */
const LONG_MINUTES = 15;

/**
 * How the quickstart trains for so many minutes of two cores.
 *
 * Five minutes are a few hundred thousand pairs, and 5,000 drawings are little: what carries over to a
 * style never seen are shapes and colours seen as a whole. So pictures are small and a single patch
 * each, which leaves the time for width, and are changed: turned, moved, recoloured, and mixed with
 * another maker's drawing of the same emoji. In an hour three makers' drawings would be known by heart
 * long before the end, so there are more of them, and they are changed more.
 */
export function recipe(minutes: number): Recipe {
  const long = minutes >= LONG_MINUTES;
  const size = long ? 32 : 24;
  return {
    vendors: long ? [...TRAINING_VENDORS, ...MORE_VENDORS] : TRAINING_VENDORS,
    vocabularySize: 4096,
    model: {
      clip: {
        dimText: 256,
        dimImage: 512,
        dimLatent: 256,
        textEncDepth: 1,
        textSeqLen: 12,
        textHeads: 4,
        visualEncDepth: 2,
        visualImageSize: size,
        visualPatchSize: size,
        visualPatchDropout: 0,
      },
      preprocessing: { fit: "contain" },
    },
    training: {
      minutes,
      learningRate: 2.5e-4,
      blend: 0.7,
      augment: long ? moreChanges : changes,
    },
  };
}
