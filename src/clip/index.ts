/**
 * CLIP models as graphs.
 *
 * @module
 */
export { CLIP, type ClipInputs, type LossOptions } from "./clip.js";
export { type ContrastiveInputs, contrastiveLoss } from "./contrastive.js";
export { type ClipOptions, clipOptionsSchema, type ResolvedClipOptions } from "./options.js";
export { type Preset, type PresetName, presets } from "./presets.js";
export { TextTransformer, type TextTransformerOptions } from "./text-transformer.js";
export {
  keptPatches,
  patchCount,
  VisionTransformer,
  type VisionTransformerOptions,
} from "./vision-transformer.js";
