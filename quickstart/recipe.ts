import type { NewRun } from "../src/train/index.js";

/**
 * How the quickstart trains on the emoji for so many minutes of two cores.
 *
 * Five minutes are a few hundred thousand pairs, and 5,000 drawings are little: what carries over to a
 * style never seen are shapes and colours seen as a whole. So pictures are small and a single patch
 * each, which leaves the time for width, and are changed a lot: turned, moved, recoloured, and mixed
 * with another maker's drawing of the same emoji.
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
      augment: {
        rotate: 15,
        translate: 0.1,
        scale: [0.75, 1.25],
        colour: { brightness: 0.4, contrast: 0.5, saturation: 0.6, hue: 0.06 },
        greyscale: 0.1,
      },
    },
  };
}
