import type { NewRun, TrainingOptions } from "../src/train/index.js";

type AugmentOptions = NonNullable<TrainingOptions["augment"]>;

const changes: AugmentOptions = {
  rotate: 15,
  translate: 0.1,
  scale: [0.75, 1.25],
  colour: { brightness: 0.4, contrast: 0.5, saturation: 0.6, hue: 0.06 },
  greyscale: 0.1,
};

const moreChanges: AugmentOptions = {
  rotate: 20,
  translate: 0.12,
  scale: [0.7, 1.3],
  colour: { brightness: 0.4, contrast: 0.5, saturation: 0.7, hue: 0.08 },
  greyscale: 0.15,
};

/** From so many minutes on, pictures are changed more. */
const LONG_MINUTES = 20;

/**
 * How the quickstart trains on the emoji for so many minutes of two cores.
 *
 * Five minutes are a few hundred thousand pairs, and 5,000 drawings are little: what carries over to a
 * style never seen are shapes and colours seen as a whole. So pictures are small and a single patch
 * each, which leaves the time for width, and are changed a lot: turned, moved, recoloured, and mixed
 * with another maker's drawing of the same emoji. The longer the training, the more they have to be
 * changed before they are known by heart.
 */
export function recipe(minutes: number): NewRun {
  return {
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
        visualImageSize: 24,
        visualPatchSize: 24,
        visualPatchDropout: 0,
      },
      preprocessing: { fit: "contain" },
    },
    training: {
      minutes,
      learningRate: 2.5e-4,
      blend: 0.7,
      augment: minutes < LONG_MINUTES ? changes : moreChanges,
    },
  };
}
