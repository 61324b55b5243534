/**
 * CLIP models as graphs.
 *
 * @module
 */
export { CLIP } from "./clip.js";
export { type ContrastiveOptions, contrastiveLoss } from "./contrastive.js";
export { retrievedSimilarities } from "./hopfield.js";
export { inferClipOptions } from "./infer-options.js";
export type { ClipInputs, ImageInputs, InputOptions, TextInputs } from "./inputs.js";
export type { ImageSide, Losses, LossOptions, LossTerms, TextSide } from "./losses.js";
export { MaskedLanguageModel, type MaskedLanguageModelOptions } from "./masked-language-model.js";
export { type MlmOptions, maskedCount, mlmOptions, mlmTokenIds } from "./mlm-options.js";
export { type ObjectiveScalars, type ObjectiveTerms, objective, type Views } from "./objective.js";
export { type ClipOptions, clipOptionsSchema, type ResolvedClipOptions } from "./options.js";
export type { ClipParts, ImageEncoder, TextEncoder, VisualSsl } from "./parts.js";
export {
  type RecallTile,
  recallGradients,
  recallStatistics,
  recallTile,
  recallUnitGradients,
  recallUnits,
} from "./recall-tile.js";
export { sigmoidLoss } from "./sigmoid.js";
export {
  globalSimilarities,
  type Latents,
  type Similarities,
  tokenwiseSimilarities,
} from "./similarity.js";
export { differentPairs, similarityRegularisation } from "./similarity-regularisation.js";
export { TextTransformer, type TextTransformerOptions } from "./text-transformer.js";
export { imagesChoose, type Tile } from "./tile.js";
export {
  contrastiveGradients,
  contrastiveRows,
  contrastiveStatistics,
  gradientOf,
  type NamedTensors,
  type RegularisationTile,
  regularisationTile,
  sigmoidTile,
} from "./tile-graphs.js";
export {
  keptPatches,
  patchCount,
  VisionTransformer,
  type VisionTransformerOptions,
} from "./vision-transformer.js";
export {
  type EncodePictures,
  SimCLR,
  type SimClrOptions,
  SimSiam,
  type VisualSslInputs,
  type VisualSslOptions,
} from "./visual-ssl/index.js";
