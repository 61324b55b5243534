import type { CLIP } from "../src/clip/index.js";
import type { Batch } from "../src/train/batch.js";
import { type Fixture, float, ints, tensor } from "./fixture.js";

/** What a case feeds to training, and the sizes of it. */
export interface CaseBatch {
  readonly batch: Batch;
  readonly batchSize: number;
  readonly textLength: number;
  readonly augTexts: number;
  readonly augImages: number;
}

/** The batch of a case. */
export function batchOf(fixture: Fixture, clip: CLIP): CaseBatch {
  const [batchSize, textLength] = tensor(fixture, "in.text").shape as [number, number];
  const named = (prefix: string) =>
    [...fixture.tensors.keys()].filter((name) => name.startsWith(prefix)).length;
  const list = <T>(count: number, make: (i: number) => T) =>
    Array.from({ length: count }, (_, i) => make(i));
  const [augTexts, augImages] = [named("in.aug_text."), named("in.aug_image.")];
  // Patches are listed in the order of x-clip's passes: those of self-supervision come first.
  const passes = clip.sslPasses;
  const drops = clip.keptPatches < clip.patches;
  const patches = (pass: number) => ints(fixture, `in.patch_indices.${pass}`);
  const batch: Batch = {
    text: ints(fixture, "in.text"),
    image: float(fixture, "in.image"),
    ...(augTexts > 0 && { augText: list(augTexts, (i) => ints(fixture, `in.aug_text.${i}`)) }),
    ...(augImages > 0 && { augImage: list(augImages, (i) => float(fixture, `in.aug_image.${i}`)) }),
    ...(drops && {
      patchIndices: passes > 0 ? patches(passes) : ints(fixture, "in.patch_indices"),
    }),
    ...(passes > 0 && {
      ssl: {
        views: [float(fixture, "in.view1"), float(fixture, "in.view2")],
        ...(drops && { patchIndices: list(passes, patches) }),
      },
    }),
    ...(clip.options.useMlm && {
      mlm: { sequence: ints(fixture, "in.mlm_seq"), labels: ints(fixture, "in.mlm_labels") },
    }),
  };
  return { batch, batchSize, textLength, augTexts, augImages };
}
